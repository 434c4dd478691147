-- +goose Up
-- What a caller's profile is folded from is kept as it was stated; the read
-- models themselves are emptied and written anew from the log. Transcripts stay
-- in the log alone, and every row can be written twice without harm, so that
-- nothing needs to remember which events have been seen.
DROP TABLE app.turns, app.inbox, app.usage_days, app.lead_stagings, app.personality_metrics, app.personality_averages;
TRUNCATE app.calls, app.call_summaries, app.memories, app.caller_profiles, app.leads, app.messages_taken, app.texts,
  app.sms_opt_outs, app.projection_offsets, app.projection_floor;

ALTER TABLE app.calls ADD COLUMN received boolean NOT NULL; -- call.received has come; what it says counts
CREATE INDEX ON app.calls (customer_id, received_at DESC);
ALTER TABLE app.call_summaries DROP COLUMN fact;
CREATE TABLE app.caller_facts (
  customer_id int NOT NULL, user_id text NOT NULL, event_id text NOT NULL, name text NOT NULL, call_id text NOT NULL,
  fact text NOT NULL, stated_at timestamptz NOT NULL, seq bigint NOT NULL,
  PRIMARY KEY (customer_id, user_id, event_id));
CREATE TABLE app.personality_metrics (
  customer_id int NOT NULL, call_id text NOT NULL, user_id text NOT NULL, metrics jsonb NOT NULL, revision int NOT NULL, seq bigint NOT NULL,
  PRIMARY KEY (customer_id, call_id));
CREATE INDEX ON app.personality_metrics (customer_id, user_id);
CREATE TABLE app.personality_averages (
  customer_id int NOT NULL, user_id text NOT NULL, averages jsonb NOT NULL, seq bigint NOT NULL, -- {metric: {n, sum, min, max}}, in millionths
  PRIMARY KEY (customer_id, user_id));
CREATE TABLE app.recordings (
  customer_id int NOT NULL, call_id text NOT NULL, recording text NOT NULL, url text NOT NULL, seconds int NOT NULL,
  recorded_at timestamptz NOT NULL, seq bigint NOT NULL,
  PRIMARY KEY (customer_id, call_id, recording));
CREATE TABLE app.transfers (
  customer_id int NOT NULL, call_id text NOT NULL, nth int NOT NULL, rule text NOT NULL, number text NOT NULL,
  reason text NOT NULL, outcome text NOT NULL, began_at timestamptz, seq bigint NOT NULL,
  PRIMARY KEY (customer_id, call_id, nth));
CREATE TABLE app.tenant_templates (
  customer_id int NOT NULL, version bigint NOT NULL, template text NOT NULL, seq bigint NOT NULL,
  refold_after text, -- profiles up to this caller are of the template; null: all are
  PRIMARY KEY (customer_id));
ALTER TABLE app.memories ADD COLUMN search tsvector GENERATED ALWAYS AS
  (to_tsvector('english'::regconfig, key || ' ' || value || ' ' || content || ' ' || evidence)) STORED;

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['caller_facts','personality_metrics','personality_averages','recordings','transfers','tenant_templates'] LOOP
    EXECUTE format('ALTER TABLE app.%I OWNER TO app_owner', t);
    EXECUTE format('ALTER TABLE app.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE app.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY tenant_guard ON app.%I AS RESTRICTIVE TO app_rw USING (customer_id = current_setting(''app.customer_id'')::int)', t);
    EXECUTE format('CREATE POLICY tenant_allow ON app.%I TO app_rw USING (customer_id = current_setting(''app.customer_id'')::int) WITH CHECK (customer_id = current_setting(''app.customer_id'')::int)', t);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON app.%I TO app_rw', t);
  END LOOP;
END $$;

-- The same read models once more, to rebuild them beside those in use.
CREATE FUNCTION pg_temp.beside(tables text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE t text;
BEGIN
  EXECUTE 'CREATE SCHEMA rebuild AUTHORIZATION app_owner';
  EXECUTE 'GRANT USAGE ON SCHEMA rebuild TO app_rw';
  FOREACH t IN ARRAY tables LOOP
    EXECUTE format('CREATE TABLE rebuild.%I (LIKE app.%I INCLUDING ALL)', t, t);
    EXECUTE format('ALTER TABLE rebuild.%I OWNER TO app_owner', t);
    EXECUTE format('ALTER TABLE rebuild.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE rebuild.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY tenant_guard ON rebuild.%I AS RESTRICTIVE TO app_rw USING (customer_id = current_setting(''app.customer_id'')::int)', t);
    EXECUTE format('CREATE POLICY tenant_allow ON rebuild.%I TO app_rw USING (customer_id = current_setting(''app.customer_id'')::int) WITH CHECK (customer_id = current_setting(''app.customer_id'')::int)', t);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON rebuild.%I TO app_rw', t);
  END LOOP;
END $$;
SELECT pg_temp.beside(ARRAY['calls','call_summaries','caller_facts','memories','caller_profiles','personality_metrics',
  'personality_averages','leads','messages_taken','texts','sms_opt_outs','recordings','transfers','tenant_templates','projection_offsets']);
-- +goose StatementEnd

-- +goose Down
SELECT 1;
