-- +goose Up
-- Who hands in a call under an id first has it: others with other words are told.
CREATE TABLE app.call_claims (
  customer_id int NOT NULL, call_id text NOT NULL, digest text NOT NULL, claimed_at timestamptz NOT NULL,
  PRIMARY KEY (customer_id, call_id));
ALTER TABLE app.call_claims OWNER TO app_owner;
ALTER TABLE app.call_claims ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.call_claims FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_guard ON app.call_claims AS RESTRICTIVE TO app_rw USING (customer_id = current_setting('app.customer_id')::int);
CREATE POLICY tenant_allow ON app.call_claims TO app_rw USING (customer_id = current_setting('app.customer_id')::int) WITH CHECK (customer_id = current_setting('app.customer_id')::int);
GRANT SELECT, INSERT, UPDATE, DELETE ON app.call_claims TO app_rw;

-- +goose Down
SELECT 1;
