-- +goose Up
-- Keys have a name of their own to be listed and revoked by, may end, and are
-- limited. The platform's keys are in a table apart: no mistake about a tenant
-- makes a key of a business one that opens all.
ALTER TABLE app.api_keys
  ADD COLUMN key_id text, ADD COLUMN expires_at timestamptz, ADD COLUMN revoked_at timestamptz, ADD COLUMN last_used_at timestamptz,
  ADD COLUMN per_minute int NOT NULL DEFAULT 6000 CHECK (per_minute >= 0); -- 0: no limit
UPDATE app.api_keys SET key_id = left(hash, 12);
ALTER TABLE app.api_keys ALTER COLUMN key_id SET NOT NULL, ADD UNIQUE (customer_id, key_id);
GRANT UPDATE (revoked_at, last_used_at) ON app.api_keys TO app_platform;

CREATE TABLE app.platform_keys (
  hash text PRIMARY KEY, key_id text NOT NULL UNIQUE, name text NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz, revoked_at timestamptz, last_used_at timestamptz, per_minute int NOT NULL CHECK (per_minute >= 0));
ALTER TABLE app.platform_keys OWNER TO app_owner;
GRANT SELECT, INSERT ON app.platform_keys TO app_platform;
GRANT UPDATE (revoked_at, last_used_at) ON app.platform_keys TO app_platform;

-- All of a tenant's memories are listed newest first, too.
CREATE INDEX ON app.memories (customer_id, created_at DESC, id);

-- +goose Down
SELECT 1;
