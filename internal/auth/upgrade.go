package auth

import (
	"context"
	"crypto/rand"
	"errors"

	"sabir/mod"
	"sabir/xmpp/sasl"
)

// upgradePrefix begins the names of upgrade tasks (XEP-0480#disco).
const upgradePrefix = "UPGR-"

// upgrades are the hashes for which an account may get a verifier that it lacks: those that newer mechanisms use.
var upgrades = [...]sasl.Hash{sasl.SHA256, sasl.SHA512}

// Upgrades returns the tasks by which a client gives an account the verifiers of further mechanisms (XEP-0480). They are the same for all
// accounts, so that they tell of none.
func (h *Host) Upgrades() []string {
	names := make([]string, len(upgrades))
	for i, u := range upgrades {
		names[i] = upgradePrefix + u.Mechanism()
	}
	return names
}

// Upgrade is an upgrade task that is under way (XEP-0480#scram).
type Upgrade struct {
	// Task is its name.
	Task string
	// Salt and Iterations are what the client derives its answer with.
	Salt       []byte
	Iterations int

	h     *Host
	local string
	hash  sasl.Hash
}

// Upgrade returns the first of the tasks that the client has asked for which its account has need of, or nil. Only who has just shown the
// password may do one: who has a token must not plant a password.
func (h *Host) Upgrade(ctx context.Context, p *Principal, asked []string) (*Upgrade, error) {
	if !p.password || len(asked) == 0 {
		return nil, nil
	}
	var sha256, sha512 string
	err := h.a.db.QueryRow(ctx, `SELECT sha256, sha512 FROM auth_account WHERE host = ? AND local = ?`, h.domain, p.bare.Local()).Scan(&sha256, &sha512)
	if errors.Is(err, mod.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, task := range asked {
		for _, hash := range upgrades {
			has := sha256
			if hash == sasl.SHA512 {
				has = sha512
			}
			if task != upgradePrefix+hash.Mechanism() || has != "" {
				continue
			}
			u := &Upgrade{Task: task, Salt: make([]byte, saltLen), Iterations: h.a.settings.Load().Iterations, h: h, local: p.bare.Local(), hash: hash}
			_, err := rand.Read(u.Salt)
			return u, err
		}
	}
	return nil, nil
}

// Finish gives the account the verifier that follows from the SaltedPassword (RFC 5802 §3) that the client has derived. It has no effect
// where the account has one meanwhile, such as by a new password. The error is a *sasl.Failure where the answer is of the wrong form.
func (u *Upgrade) Finish(ctx context.Context, salted []byte) error {
	v, err := sasl.VerifierOfSalted(u.hash, salted, u.Salt, u.Iterations)
	if err != nil {
		return &sasl.Failure{Condition: sasl.MalformedRequest, Text: "this is no salted password of that hash", Err: err}
	}
	return u.h.a.db.Write(ctx, func(tx mod.Tx) error {
		if u.hash == sasl.SHA512 {
			_, err := tx.Exec(ctx, `UPDATE auth_account SET sha512 = ? WHERE host = ? AND local = ? AND sha512 = ''`, v.Encode(), u.h.domain, u.local)
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE auth_account SET sha256 = ? WHERE host = ? AND local = ? AND sha256 = ''`, v.Encode(), u.h.domain, u.local)
		return err
	})
}
