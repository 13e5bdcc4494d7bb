-- When an account was last available, in microseconds since 1970, and its status then.
CREATE TABLE last_activity (
    account TEXT   NOT NULL PRIMARY KEY,
    at      BIGINT NOT NULL,
    status  TEXT   NOT NULL
);
