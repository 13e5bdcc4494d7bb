-- The vCard of an account.
CREATE TABLE vcard (
    account TEXT NOT NULL PRIMARY KEY,
    content TEXT NOT NULL
);
