package auth

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"

	"sabir/mod"
	"sabir/xmpp/jid"
)

// importBatch is how many accounts share one write: it holds the other writers up for some milliseconds.
const importBatch = 250

// maxImportProblems is how many bad lines are named; the others are counted.
const maxImportProblems = 100

// ImportOptions say how accounts are imported.
type ImportOptions struct {
	// Replace gives accounts that exist the password of the file; otherwise they stay as they are.
	Replace bool
	// Iterations overrides those of the configuration, for test accounts by the thousand; 0 does not.
	Iterations int
	// Share gives accounts of the same password the same salts too, so that keys are derived once for all of them. That is for test
	// accounts, which the password tells apart from real ones anyway.
	Share bool
}

// ImportResult tells what an import did.
type ImportResult struct {
	Imported int `json:"imported"` // accounts written
	Existing int `json:"existing"` // accounts that existed and stayed as they are
	Failed   int `json:"failed"`   // lines that were skipped
	// Problems names bad lines, the first hundred of them, without what stands there.
	Problems []string `json:"problems,omitempty"`
}

// record is an account on its way through an import.
type record struct {
	line     int
	host     *Host
	local    string
	password string
	secrets  secrets
}

// Import reads CSV with a line jid,password for each account, perhaps with such a header, and makes the accounts. All processors
// derive keys meanwhile. Bad lines are skipped and told; the error is one of reading or of the database, after which what was counted
// as imported is kept. The hosts of the accounts must be known by Host. Passwords obey the rules of RFC 8265, but no least length.
func (a *Auth) Import(ctx context.Context, r io.Reader, o ImportOptions) (ImportResult, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := a.settings.Load()
	if o.Iterations == 0 {
		o.Iterations = s.Iterations
	}
	im := &importer{a: a, o: o, sha1: s.SCRAMSHA1, shared: make(map[string]secrets)}
	read := make(chan *record)
	derived := make(chan *record, importBatch)
	var readErr error
	go func() {
		defer close(read)
		readErr = im.read(ctx, r, read)
	}()
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() { im.derive(ctx, read, derived) })
	}
	go func() {
		workers.Wait()
		close(derived)
	}()
	err := im.write(ctx, derived)
	if err != nil {
		cancel()
	}
	for range derived { // the workers end before the result is read
	}
	if err == nil {
		err = readErr
	}
	return im.result, err
}

type importer struct {
	a    *Auth
	o    ImportOptions
	sha1 bool

	mu     sync.Mutex
	result ImportResult
	shared map[string]secrets // by password, with Share
}

func (im *importer) fail(line int, format string, args ...any) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.result.Failed++
	if len(im.result.Problems) < maxImportProblems {
		im.result.Problems = append(im.result.Problems, fmt.Sprintf("line %d: ", line)+fmt.Sprintf(format, args...))
	}
}

// read parses lines. Its error is one of the reader: bad lines are no errors.
func (im *importer) read(ctx context.Context, r io.Reader, out chan<- *record) error {
	c := csv.NewReader(r)
	c.FieldsPerRecord = -1
	c.ReuseRecord = true
	for first := true; ; first = false {
		f, err := c.Read()
		var bad *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &bad):
			im.fail(bad.StartLine, "not CSV: %v", bad.Err)
			continue
		case err != nil:
			return fmt.Errorf("reading the accounts: %w", err)
		}
		if first && len(f) == 2 && strings.EqualFold(strings.TrimPrefix(f[0], "\ufeff"), "jid") {
			continue
		}
		line, _ := c.FieldPos(0)
		rec, why := im.parse(f)
		if why != "" {
			im.fail(line, "%s", why)
			continue
		}
		rec.line = line
		select {
		case out <- rec:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// parse checks the fields of one line; why tells what is wrong with them, without repeating them.
func (im *importer) parse(f []string) (rec *record, why string) {
	if len(f) != 2 {
		return nil, fmt.Sprintf("%d fields where two are wanted: jid,password", len(f))
	}
	j, err := jid.Parse(strings.Clone(f[0]))
	switch {
	case err != nil:
		return nil, err.Error()
	case j.Local() == "" || j.IsFull():
		return nil, "the address is not of the form user@domain"
	}
	h := im.a.lookup(j.Domain())
	if h == nil {
		return nil, "there is no host " + j.Domain()
	}
	local, err := prepareLocal(j.Local())
	if err != nil {
		return nil, err.Error()
	}
	password, err := PreparePassword(f[1], 1)
	if err != nil {
		return nil, err.Error()
	}
	return &record{host: h, local: local, password: password}, ""
}

// derive makes verifiers until there are no more records.
func (im *importer) derive(ctx context.Context, in <-chan *record, out chan<- *record) {
	for rec := range in {
		var err error
		if rec.secrets, err = im.secrets(rec.password); err != nil {
			im.fail(rec.line, "%v", err)
			continue
		}
		rec.password = ""
		select {
		case out <- rec:
		case <-ctx.Done():
			return
		}
	}
}

func (im *importer) secrets(password string) (secrets, error) {
	if !im.o.Share {
		return deriveSecrets(password, im.o.Iterations, im.sha1)
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	if s, ok := im.shared[password]; ok {
		return s, nil
	}
	s, err := deriveSecrets(password, im.o.Iterations, im.sha1)
	if err == nil {
		im.shared[password] = s
	}
	return s, err
}

// write stores records as they come, many at a time.
func (im *importer) write(ctx context.Context, in <-chan *record) error {
	batch := make([]*record, 0, importBatch)
	for rec := range in {
		if batch = append(batch, rec); len(batch) < importBatch {
			continue
		}
		if err := im.store(ctx, batch); err != nil {
			return err
		}
		batch = batch[:0]
	}
	return im.store(ctx, batch)
}

func (im *importer) store(ctx context.Context, batch []*record) error {
	if len(batch) == 0 {
		return nil
	}
	var imported, existing int
	err := im.a.db.Write(ctx, func(tx mod.Tx) error {
		imported, existing = 0, 0
		for _, rec := range batch {
			n, err := rec.host.insert(ctx, tx, rec.local, rec.secrets, im.o.Replace)
			if err != nil {
				return err
			}
			if n > 0 {
				imported++
			} else {
				existing++
			}
		}
		return nil
	})
	for _, rec := range batch {
		rec.host.known.forget(rec.local)
	}
	if err != nil {
		return fmt.Errorf("storing accounts: %w", err)
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	im.result.Imported += imported
	im.result.Existing += existing
	return nil
}
