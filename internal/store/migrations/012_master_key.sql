-- +goose Up
-- Which key secrets in this database are sealed with, told by its fingerprint:
-- a process that has another one is to find out before it seals anything.
CREATE TABLE app.master_key (one bool PRIMARY KEY DEFAULT true CHECK (one), fingerprint text NOT NULL, since timestamptz NOT NULL DEFAULT now());
ALTER TABLE app.master_key OWNER TO app_owner;
GRANT SELECT, INSERT ON app.master_key TO app_platform;

-- +goose Down
SELECT 1;
