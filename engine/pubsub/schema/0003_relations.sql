-- What Config says of relationships to other nodes of the service (XEP-0496), to find them from the other side.
ALTER TABLE pubsub_node ADD COLUMN link TEXT NOT NULL DEFAULT '';
ALTER TABLE pubsub_node ADD COLUMN parent TEXT NOT NULL DEFAULT '';
CREATE INDEX pubsub_node_link ON pubsub_node (service, link) WHERE link <> '';
CREATE INDEX pubsub_node_parent ON pubsub_node (service, parent) WHERE parent <> '';
-- What a subscription is for, a set of bits, and how many levels of nodes below (XEP-0497).
ALTER TABLE pubsub_subscription ADD COLUMN wants BIGINT NOT NULL DEFAULT 1;
ALTER TABLE pubsub_subscription ADD COLUMN depth BIGINT NOT NULL DEFAULT 0;
