// Package dbtest opens databases for tests: every store is tested on both engines with the same code.
//
//	func TestStore(t *testing.T) {
//		dbtest.Each(t, func(t *testing.T, d db.DB) {
//			dbtest.Migrate(t, d, "roster", schema)
//			...
//		})
//	}
//
// PostgreSQL is taken from the environment variable SABIR_TEST_POSTGRES: the URL of a server and database in which the
// tests may make schemas (scripts/postgres-test.sh makes one). Each test gets a schema of its own, which is dropped
// afterwards. Without the variable the PostgreSQL half is skipped, but where CI=true it fails.
package dbtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"sabir/internal/db"
)

// EnvPostgres names the environment variable with the URL of the PostgreSQL server for tests.
const EnvPostgres = "SABIR_TEST_POSTGRES"

// patience bounds what the preparations of a test may take.
const patience = 30 * time.Second

// Each runs f as the subtests sqlite and postgres, each with an empty database that is closed afterwards.
func Each(t *testing.T, f func(t *testing.T, d db.DB)) {
	t.Helper()
	EachURL(t, func(t *testing.T, u string) { f(t, Open(t, u, db.Options{})) })
}

// EachURL does the same for tests that open the database themselves, perhaps more than once or with options.
func EachURL(t *testing.T, f func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { f(t, SQLiteURL(t)) })
	t.Run("postgres", func(t *testing.T) { f(t, PostgresURL(t)) })
}

// SQLite opens an empty SQLite database that lives as long as the test.
func SQLite(t testing.TB) db.DB {
	t.Helper()
	return Open(t, SQLiteURL(t), db.Options{})
}

// Postgres opens an empty PostgreSQL database that lives as long as the test, or skips or fails it as Each does.
func Postgres(t testing.TB) db.DB {
	t.Helper()
	return Open(t, PostgresURL(t), db.Options{})
}

// Open opens the database of a URL and closes it after the test.
func Open(t testing.TB, u string, o db.Options) db.DB {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	d, err := db.Open(ctx, u, o)
	if err != nil {
		t.Fatalf("dbtest: %v", err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("dbtest: %v", err)
		}
	})
	return d
}

// Migrate brings the tables of a module to their newest version, or fails the test.
func Migrate(t testing.TB, d db.DB, module string, schema fs.FS) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := db.Migrate(ctx, d, module, schema); err != nil {
		t.Fatalf("dbtest: %v", err)
	}
}

// SQLiteURL names a file that does not exist yet, in a folder that is deleted after the test.
func SQLiteURL(t testing.TB) string {
	t.Helper()
	return "sqlite:" + filepath.Join(t.TempDir(), "test.db")
}

// PostgresURL names an empty schema, as the search_path of a URL, that is dropped after the test. Databases that use it
// are closed before that, as Open does.
func PostgresURL(t testing.TB) string {
	t.Helper()
	base := os.Getenv(EnvPostgres)
	if base == "" {
		if os.Getenv("CI") == "true" {
			t.Fatalf("dbtest: CI has no PostgreSQL: %s is not set; scripts/postgres-test.sh run CMD sets it", EnvPostgres)
		}
		t.Skipf("dbtest: %s is not set; scripts/postgres-test.sh run CMD sets it", EnvPostgres)
	}
	u, err := url.Parse(base)
	if err != nil {
		t.Fatalf("dbtest: %s: %v", EnvPostgres, err)
	}
	name := "sabir_test_" + random(t)
	exec(t, base, "CREATE SCHEMA "+pgx.Identifier{name}.Sanitize())
	t.Cleanup(func() { exec(t, base, "DROP SCHEMA "+pgx.Identifier{name}.Sanitize()+" CASCADE") })
	q := u.Query()
	q.Set("search_path", name)
	u.RawQuery = q.Encode()
	return u.String()
}

func random(t testing.TB) string {
	t.Helper()
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		t.Fatalf("dbtest: %v", err)
	}
	return hex.EncodeToString(b[:])
}

// exec runs one statement on a connection of its own.
func exec(t testing.TB, u, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := pgx.Connect(ctx, u)
	if err != nil {
		t.Fatalf("dbtest: PostgreSQL: %v", err)
	}
	_, err = c.Exec(ctx, statement)
	if cerr := c.Close(ctx); err == nil {
		err = cerr
	}
	if err != nil {
		t.Fatalf("dbtest: PostgreSQL: %v", err)
	}
}
