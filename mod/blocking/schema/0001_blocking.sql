-- Addresses that an account has blocked, both in prepared form.
CREATE TABLE blocking_item (
    account TEXT NOT NULL,
    jid     TEXT NOT NULL,
    PRIMARY KEY (account, jid)
);
