package caps

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"sabir/mod"
)

// store is the table caps_features. It is shared by all hosts: what a hash means does not depend on who asks.
type store struct {
	db    mod.DB
	limit int
}

func (t store) get(ctx context.Context, k key) ([]string, bool, error) {
	var text string
	err := t.db.QueryRow(ctx, `SELECT features FROM caps_features WHERE kind = ? AND algo = ? AND hash = ?`, k.kind, k.algo, k.hash).Scan(&text)
	if errors.Is(err, mod.ErrNoRows) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	var f []string
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return nil, false, err
	}
	return f, true, nil
}

// put keeps features, and drops those that were learned first where there are too many: anybody can make up hashes.
func (t store) put(ctx context.Context, k key, features []string, now time.Time) error {
	text, err := json.Marshal(features)
	if err != nil {
		return err
	}
	return t.db.Write(ctx, func(tx mod.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO caps_features (kind, algo, hash, learned, features) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			k.kind, k.algo, k.hash, now, string(text))
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM caps_features WHERE learned <
			(SELECT min(learned) FROM (SELECT learned FROM caps_features ORDER BY learned DESC LIMIT ?) AS kept)`, t.limit)
		return err
	})
}
