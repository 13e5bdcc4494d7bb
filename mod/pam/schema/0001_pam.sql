-- Subscriptions of accounts. service and node say to what; state is as XEP-0060 names it; public says that others may know of it.
CREATE TABLE pam_subscription (
    account TEXT    NOT NULL,
    service TEXT    NOT NULL,
    node    TEXT    NOT NULL,
    subid   TEXT    NOT NULL,
    state   TEXT    NOT NULL,
    public  BOOLEAN NOT NULL,
    PRIMARY KEY (account, service, node, subid)
);
