-- +goose Up
-- Which callers were erased, by keyed hash, and what became true until when is
-- not to be believed any more: a fact that was on its way may arrive later.
CREATE TABLE app.erased_callers (
  customer_id int NOT NULL, ref text NOT NULL, until timestamptz NOT NULL, seq bigint NOT NULL,
  PRIMARY KEY (customer_id, ref));
CREATE UNLOGGED TABLE rebuild.erased_callers (LIKE app.erased_callers INCLUDING ALL);
-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['app.erased_callers', 'rebuild.erased_callers'] LOOP
    EXECUTE format('ALTER TABLE %s OWNER TO app_owner', t);
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY tenant_guard ON %s AS RESTRICTIVE TO app_rw USING (customer_id = current_setting(''app.customer_id'')::int)', t);
    EXECUTE format('CREATE POLICY tenant_allow ON %s TO app_rw USING (customer_id = current_setting(''app.customer_id'')::int) WITH CHECK (customer_id = current_setting(''app.customer_id'')::int)', t);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO app_rw', t);
  END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
SELECT 1;
