-- Nodes of publish-subscribe services. num is random and stands for the node in the other tables. service is the address
-- of the service: a domain, or with personal eventing the bare JID of an account. config is JSON (see Config);
-- purge and expire repeat its purge_offline and item_expire.
CREATE TABLE pubsub_node (
    num     BIGINT NOT NULL PRIMARY KEY,
    service TEXT   NOT NULL,
    name    TEXT   NOT NULL,
    creator TEXT   NOT NULL,
    created BIGINT NOT NULL,
    items   BIGINT NOT NULL,
    config  TEXT   NOT NULL,
    purge   BOOLEAN NOT NULL,
    expire  BIGINT NOT NULL,
    UNIQUE (service, name)
);
CREATE INDEX pubsub_node_purge ON pubsub_node (num) WHERE purge;
CREATE INDEX pubsub_node_expire ON pubsub_node (num) WHERE expire > 0;
-- seq orders the items of a node by their last publication; the times are microseconds.
CREATE TABLE pubsub_item (
    node      BIGINT NOT NULL,
    id        TEXT   NOT NULL,
    seq       BIGINT NOT NULL,
    publisher TEXT   NOT NULL,
    created   BIGINT NOT NULL,
    stamp     BIGINT NOT NULL,
    payload   TEXT   NOT NULL,
    PRIMARY KEY (node, id)
);
CREATE UNIQUE INDEX pubsub_item_seq ON pubsub_item (node, seq);
CREATE TABLE pubsub_affiliation (
    node        BIGINT NOT NULL,
    jid         TEXT   NOT NULL,
    affiliation TEXT   NOT NULL,
    PRIMARY KEY (node, jid)
);
CREATE INDEX pubsub_affiliation_jid ON pubsub_affiliation (jid);
-- jid is the address that is subscribed, bare its bare JID. expires is 0 for never.
CREATE TABLE pubsub_subscription (
    node    BIGINT NOT NULL,
    jid     TEXT   NOT NULL,
    bare    TEXT   NOT NULL,
    state   TEXT   NOT NULL,
    deliver BOOLEAN NOT NULL,
    expires BIGINT NOT NULL,
    PRIMARY KEY (node, jid)
);
CREATE INDEX pubsub_subscription_bare ON pubsub_subscription (bare);
-- A node that was deleted in favour of another one.
CREATE TABLE pubsub_moved (
    service TEXT NOT NULL,
    name    TEXT NOT NULL,
    uri     TEXT NOT NULL,
    PRIMARY KEY (service, name)
);
