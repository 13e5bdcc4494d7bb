-- Where an account wants to be told of messages that its clients have not seen. kind is "xmpp" for an app server
-- (XEP-0357), whose address and node are service and node, or "web" for a browser (RFC 8030), whose endpoint is service.
-- secret is the form of publish options, or the keys of the browser. waiting counts the messages since the client was there
-- last, told those of them that the service has acknowledged. failed says why the service was given up, or is empty.
CREATE TABLE push_service (
    host     TEXT   NOT NULL,
    account  TEXT   NOT NULL,
    kind     TEXT   NOT NULL,
    service  TEXT   NOT NULL,
    node     TEXT   NOT NULL,
    resource TEXT   NOT NULL,
    secret   TEXT   NOT NULL,
    enabled  BIGINT NOT NULL,
    waiting  BIGINT NOT NULL,
    told     BIGINT NOT NULL,
    failed   TEXT   NOT NULL,
    PRIMARY KEY (account, kind, service, node)
);
CREATE INDEX push_service_due ON push_service (host, account) WHERE waiting > told;

-- The key pair by which this server shows browsers' push services that it is the same as before (RFC 8292).
CREATE TABLE push_key (
    id          BIGINT PRIMARY KEY,
    private_key TEXT NOT NULL,
    public_key  TEXT NOT NULL
);
