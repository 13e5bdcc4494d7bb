-- Verified capabilities: the features behind a hash, as a JSON array. kind is 115 or 390, after the specification.
CREATE TABLE caps_features (
    kind     BIGINT NOT NULL,
    algo     TEXT   NOT NULL,
    hash     TEXT   NOT NULL,
    learned  BIGINT NOT NULL,
    features TEXT   NOT NULL,
    PRIMARY KEY (kind, algo, hash)
);
CREATE INDEX caps_features_learned ON caps_features (learned);
