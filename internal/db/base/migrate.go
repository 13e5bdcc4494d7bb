package base

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing/fstest"

	"github.com/pressly/goose/v3"

	"sabir/mod"
)

var (
	moduleName = regexp.MustCompile(`^[a-z][a-z0-9]*([_-][a-z0-9]+)*$`)
	schemaName = regexp.MustCompile(`^([0-9]{4,})_[a-z0-9_]+(\.sqlite|\.postgres)?\.sql$`)
)

// Migrate brings the tables of one module to the newest version that fsys holds. Versions are kept per module, in the
// table goose_<module>, in which a dash of the name is an underscore.
//
// fsys holds, at its root or in a folder schema/, files NNNN_name.sql for both engines, or a pair NNNN_name.sqlite.sql
// and NNNN_name.postgres.sql. Each is plain SQL with a semicolon at the end of a line after each statement, and runs in
// one transaction. Goose's annotations are understood (StatementBegin and StatementEnd around a function body,
// NO TRANSACTION), but there is no way down.
//
// A database that has a version which fsys does not know gives ErrNewer and stays untouched. Several processes may
// call Migrate at once: one does the work, the others wait for it. ctx bounds the whole.
func Migrate(ctx context.Context, d DB, module string, fsys fs.FS) error {
	if !moduleName.MatchString(module) || len(module) > 50 {
		return fmt.Errorf("db: %q cannot name a module's version table: use up to 50 of a-z 0-9 - _", module)
	}
	view, err := schemaView(fsys, d.Dialect())
	if err != nil {
		return fmt.Errorf("db: schema of module %s: %w", module, err)
	}
	m, err := d.Migrator(ctx)
	if err != nil {
		return err
	}
	err = m.migrate(ctx, module, view)
	if cerr := m.DB.Close(); err == nil && cerr != nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("db: migrate module %s: %w", module, err)
	}
	return nil
}

func (m *Migrator) migrate(ctx context.Context, module string, view fs.FS) error {
	opts := []goose.ProviderOption{
		goose.WithTableName("goose_" + strings.ReplaceAll(module, "-", "_")),
		goose.WithDisableGlobalRegistry(true),
		goose.WithLogger(goose.NopLogger()),
	}
	if m.Locker != nil {
		opts = append(opts, goose.WithSessionLocker(m.Locker(module)))
	}
	p, err := goose.NewProvider(m.Dialect, m.DB, view, opts...)
	if err != nil {
		return err
	}
	for {
		before, know, err := m.version(ctx, p, module)
		if err != nil {
			return err
		}
		if err = m.up(ctx, p, know-before); err == nil {
			break
		}
		// Without a lock another process may have run the same file between our look and our turn. If the version
		// moved meanwhile that is what happened: look again. It moves only so many times.
		after, _, verr := m.version(ctx, p, module)
		if verr != nil || after == before || m.Locker != nil {
			return err
		}
	}
	// Once more, for a newer program may have been waiting for the lock beside this one.
	_, _, err = m.version(ctx, p, module)
	return err
}

// up makes the n versions that are missing, one after the other. That another process was quicker is no error.
func (m *Migrator) up(ctx context.Context, p *goose.Provider, n int64) error {
	for range n {
		m.CrashPoint(BeforeMigration)
		if _, err := p.UpByOne(ctx); err != nil && !errors.Is(err, goose.ErrNoNextVersion) {
			return err
		}
		m.CrashPoint(AfterMigration)
	}
	return nil
}

// version returns the version in the database and the newest that this program knows, and ErrNewer if it does not know
// that of the database.
func (m *Migrator) version(ctx context.Context, p *goose.Provider, module string) (have, know int64, err error) {
	have, know, err = p.GetVersions(ctx)
	if err != nil {
		return 0, 0, err
	}
	if have > know {
		return have, know, &Error{Op: fmt.Sprintf("the tables of module %s have version %d, this program knows them up to %d: "+
			"start the version of the program that made them, or go back to a backup", module, have, know),
			Kinds: []error{ErrNewer}}
	}
	return have, know, nil
}

// schemaView returns the files of one dialect under the names that goose wants.
func schemaView(fsys fs.FS, dialect mod.Dialect) (fs.FS, error) {
	if st, err := fs.Stat(fsys, "schema"); err == nil && st.IsDir() {
		if fsys, err = fs.Sub(fsys, "schema"); err != nil {
			return nil, err
		}
	}
	names, err := fs.Glob(fsys, "*.sql")
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errors.New("no NNNN_name.sql in it")
	}
	view := fstest.MapFS{}
	all := make(map[int64]*versionFiles, len(names))
	for _, name := range names {
		g := schemaName.FindStringSubmatch(name)
		if g == nil {
			return nil, fmt.Errorf("%s is not named NNNN_name.sql, NNNN_name.sqlite.sql or NNNN_name.postgres.sql", name)
		}
		version, err := strconv.ParseInt(g[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		v := all[version]
		if v == nil {
			v = &versionFiles{}
			all[version] = v
		}
		if err := v.add(name, strings.TrimPrefix(g[2], ".")); err != nil {
			return nil, err
		}
	}
	for version := int64(1); version <= int64(len(all)); version++ {
		v := all[version]
		if v == nil {
			return nil, fmt.Errorf("version %d is missing: the numbers go up by one from 0001", version)
		}
		name, err := v.pick(dialect)
		if err != nil {
			return nil, err
		}
		text, err := readSchema(fsys, name)
		if err != nil {
			return nil, err
		}
		view[name] = &fstest.MapFile{Data: text, Mode: 0o444}
	}
	return view, nil
}

// versionFiles are the files of one version.
type versionFiles struct{ common, sqlite, postgres string }

func (v *versionFiles) add(name, dialect string) error {
	p := &v.common
	switch dialect {
	case "sqlite":
		p = &v.sqlite
	case "postgres":
		p = &v.postgres
	}
	if *p != "" {
		return fmt.Errorf("%s and %s have the same version", *p, name)
	}
	*p = name
	return nil
}

func (v *versionFiles) pick(d mod.Dialect) (string, error) {
	if v.common != "" {
		if other := v.sqlite + v.postgres; other != "" {
			return "", fmt.Errorf("%s and %s have the same version", v.common, other)
		}
		return v.common, nil
	}
	if v.sqlite == "" || v.postgres == "" {
		return "", fmt.Errorf("%s has no counterpart for the other engine", v.sqlite+v.postgres)
	}
	if d == mod.Postgres {
		return v.postgres, nil
	}
	return v.sqlite, nil
}

func readSchema(fsys fs.FS, name string) ([]byte, error) {
	text, err := fs.ReadFile(fsys, path.Clean(name))
	if err != nil {
		return nil, err
	}
	if bytes.Contains(text, []byte("+goose Down")) {
		return nil, fmt.Errorf("%s has a way down: migrations go forward only", name)
	}
	if !bytes.Contains(text, []byte("+goose Up")) {
		text = append([]byte("-- +goose Up\n"), text...)
	}
	return text, nil
}
