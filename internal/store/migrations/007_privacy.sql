-- +goose Up
-- What was asked to be erased, by whom and how far that has come. It names a
-- caller by a keyed hash, and, only until it is done, by a sealed number.
CREATE TABLE app.erasures (
  customer_id int NOT NULL, id text NOT NULL, kind text NOT NULL, ref text NOT NULL, calls jsonb NOT NULL, by text NOT NULL,
  sealed text NOT NULL, state text NOT NULL, scanned bigint NOT NULL, certificate jsonb NOT NULL, requested_at timestamptz NOT NULL, finished_at timestamptz,
  PRIMARY KEY (customer_id, id));
ALTER TABLE app.erasures OWNER TO app_owner;
ALTER TABLE app.erasures ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.erasures FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_guard ON app.erasures AS RESTRICTIVE TO app_rw USING (customer_id = current_setting('app.customer_id')::int);
CREATE POLICY tenant_allow ON app.erasures TO app_rw USING (customer_id = current_setting('app.customer_id')::int) WITH CHECK (customer_id = current_setting('app.customer_id')::int);
GRANT SELECT, INSERT, UPDATE, DELETE ON app.erasures TO app_rw;

-- A business that has left takes its settings and numbers with it.
GRANT DELETE ON app.customers TO app_platform;

-- +goose Down
SELECT 1;
