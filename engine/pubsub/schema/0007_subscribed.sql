-- How often the subscriptions of a node have changed: what was read of them before is still what there is while that is the same.
ALTER TABLE pubsub_node ADD COLUMN subscribed BIGINT NOT NULL DEFAULT 0;
