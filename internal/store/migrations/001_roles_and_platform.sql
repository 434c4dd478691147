-- +goose Up
-- Roles are of the whole cluster; another database of it may have made them.
-- +goose StatementBegin
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app_owner') THEN CREATE ROLE app_owner NOLOGIN; END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app_platform') THEN CREATE ROLE app_platform NOLOGIN; END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app_rw') THEN CREATE ROLE app_rw LOGIN NOINHERIT; END IF;
  EXECUTE format('REVOKE TEMPORARY, CREATE ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO app_rw', current_database());
END $$;
-- +goose StatementEnd
GRANT app_platform TO app_rw;
CREATE SCHEMA app AUTHORIZATION app_owner;
GRANT USAGE ON SCHEMA app TO app_rw, app_platform;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

-- The platform's own tables. Reached only as app_platform, one transaction at
-- a time, but for the tenant's own row of customers.
CREATE TABLE app.customers (
  customer_id       int PRIMARY KEY,
  settings          jsonb NOT NULL,
  version           bigint NOT NULL,
  published_version bigint NOT NULL DEFAULT 0,
  status            text NOT NULL CHECK (status IN ('active', 'suspended')),
  created_at        timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE app.phone_numbers (
  number      text PRIMARY KEY,
  customer_id int NOT NULL REFERENCES app.customers
);
CREATE INDEX ON app.phone_numbers (customer_id);
CREATE TABLE app.api_keys (
  hash        text PRIMARY KEY,
  customer_id int NOT NULL REFERENCES app.customers,
  name        text NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON app.api_keys (customer_id);
CREATE TABLE app.industry_templates (
  template_id text PRIMARY KEY,
  template    jsonb NOT NULL
);
CREATE SEQUENCE app.customer_ids AS int;
ALTER TABLE app.customers OWNER TO app_owner;
ALTER TABLE app.phone_numbers OWNER TO app_owner;
ALTER TABLE app.api_keys OWNER TO app_owner;
ALTER TABLE app.industry_templates OWNER TO app_owner;
ALTER SEQUENCE app.customer_ids OWNER TO app_owner;
ALTER TABLE app.customers ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.customers FORCE ROW LEVEL SECURITY;
CREATE POLICY platform ON app.customers TO app_platform USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON app.customers TO app_platform;
GRANT SELECT, INSERT, DELETE ON app.phone_numbers TO app_platform;
GRANT SELECT, INSERT, DELETE ON app.api_keys TO app_platform;
GRANT SELECT, INSERT ON app.industry_templates TO app_platform;
GRANT USAGE ON SEQUENCE app.customer_ids TO app_platform;

-- +goose Down
DROP SCHEMA app CASCADE;
