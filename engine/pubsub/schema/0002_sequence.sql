-- The number of the last publication, so that no number comes twice after the newest item was deleted.
ALTER TABLE pubsub_node ADD COLUMN seq BIGINT NOT NULL DEFAULT 0;
UPDATE pubsub_node SET seq = COALESCE((SELECT MAX(i.seq) FROM pubsub_item i WHERE i.node = pubsub_node.num), 0);
