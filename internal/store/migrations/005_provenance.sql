-- +goose Up
-- Profiles say where each value comes from and what it replaced; a caller may
-- be known before there is a call; memories are stored and forgotten by people
-- too; and what comes of an erased call is left out, whenever it comes.
ALTER TABLE app.caller_profiles ALTER COLUMN first_call_at DROP NOT NULL, ALTER COLUMN last_call_at DROP NOT NULL,
  ADD COLUMN former jsonb NOT NULL DEFAULT '{}'; -- fields that hold nothing any more, and what they held
ALTER TABLE rebuild.caller_profiles ALTER COLUMN first_call_at DROP NOT NULL, ALTER COLUMN last_call_at DROP NOT NULL,
  ADD COLUMN former jsonb NOT NULL DEFAULT '{}';
TRUNCATE app.memories, rebuild.memories;
ALTER TABLE app.memories ADD COLUMN stated_by text NOT NULL, ADD COLUMN last_said_at timestamptz NOT NULL,
  ADD COLUMN times int NOT NULL, ADD COLUMN expires_at timestamptz, -- times: calls it was said in
  ADD COLUMN sealed text NOT NULL DEFAULT ''; -- what a value that is a mark stands for
ALTER TABLE rebuild.memories ADD COLUMN stated_by text NOT NULL, ADD COLUMN last_said_at timestamptz NOT NULL,
  ADD COLUMN times int NOT NULL, ADD COLUMN expires_at timestamptz, ADD COLUMN sealed text NOT NULL DEFAULT '';

CREATE TABLE app.erased_calls (
  customer_id int NOT NULL, call_id text NOT NULL, seq bigint NOT NULL,
  PRIMARY KEY (customer_id, call_id));
CREATE TABLE rebuild.erased_calls (LIKE app.erased_calls INCLUDING ALL);
-- Facts that others than the summarizer state of a call: there are few.
CREATE INDEX ON app.caller_facts (customer_id, call_id) WHERE name <> 'call.summarized' AND call_id <> '';
CREATE INDEX ON rebuild.caller_facts (customer_id, call_id) WHERE name <> 'call.summarized' AND call_id <> '';

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['app.erased_calls', 'rebuild.erased_calls'] LOOP
    EXECUTE format('ALTER TABLE %s OWNER TO app_owner', t);
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY tenant_guard ON %s AS RESTRICTIVE TO app_rw USING (customer_id = current_setting(''app.customer_id'')::int)', t);
    EXECUTE format('CREATE POLICY tenant_allow ON %s TO app_rw USING (customer_id = current_setting(''app.customer_id'')::int) WITH CHECK (customer_id = current_setting(''app.customer_id'')::int)', t);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO app_rw', t);
  END LOOP;
END $$;
-- +goose StatementEnd

-- The log is read once more from its beginning, and every caller folded anew.
-- What is in the rows meanwhile stays.
TRUNCATE app.projection_offsets, app.projection_floor, rebuild.projection_offsets;

-- +goose Down
SELECT 1;
