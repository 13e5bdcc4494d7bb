-- Tokens by which users enter a members-only room and become members (XEP-0488). until is in seconds since 1970.
CREATE TABLE muc_token (
    room    TEXT   NOT NULL,
    token   TEXT   NOT NULL,
    creator TEXT   NOT NULL,
    uses    BIGINT NOT NULL,
    until   BIGINT NOT NULL,
    PRIMARY KEY (room, token)
);
CREATE INDEX muc_token_creator ON muc_token (creator);
