-- XML that an account keeps for itself, one row for each element name.
CREATE TABLE private_xml (
    account TEXT   NOT NULL,
    space   TEXT   NOT NULL,
    local   TEXT   NOT NULL,
    size    BIGINT NOT NULL,
    content TEXT   NOT NULL,
    PRIMARY KEY (account, space, local)
);
