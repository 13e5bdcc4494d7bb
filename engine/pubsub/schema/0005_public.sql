-- Whether a subscription is one that others may know of (XEP-0465).
ALTER TABLE pubsub_subscription ADD COLUMN public BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX pubsub_subscription_public ON pubsub_subscription (bare) WHERE public;
