-- The characters of the payloads that a node holds, for quotas.
ALTER TABLE pubsub_node ADD COLUMN stored BIGINT NOT NULL DEFAULT 0;
UPDATE pubsub_node SET stored = COALESCE((SELECT SUM(LENGTH(i.payload)) FROM pubsub_item i WHERE i.node = pubsub_node.num), 0);
CREATE INDEX pubsub_node_creator ON pubsub_node (service, creator);
