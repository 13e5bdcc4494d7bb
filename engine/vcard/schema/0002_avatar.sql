-- The hash that presence has of the picture of an account: '' where it has none, '?' where nothing is known, NULL where that is yet to be
-- found out. rev counts the changes of the picture, so that what was found out before one is not put there after.
CREATE TABLE vcard_avatar (
    account TEXT   NOT NULL PRIMARY KEY,
    rev     BIGINT NOT NULL,
    hash    TEXT
);
