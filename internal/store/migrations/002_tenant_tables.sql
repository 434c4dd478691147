-- +goose Up
-- Read models: folded from events by the profiler and by nothing else. Facts
-- arrive in any order, so no row requires another table's row to exist.
CREATE TABLE app.calls (
  customer_id int NOT NULL, call_id text NOT NULL,
  user_id text, called text, received_at timestamptz, answered_at timestamptz, ended_at timestamptz,
  seconds int, reason text, turns int, transferred_to text, seq bigint NOT NULL,
  PRIMARY KEY (customer_id, call_id));
CREATE INDEX ON app.calls (customer_id, user_id);
CREATE TABLE app.turns (
  customer_id int NOT NULL, call_id text NOT NULL, event_id text NOT NULL,
  call_seq int NOT NULL, turn int NOT NULL, role text NOT NULL CHECK (role IN ('caller', 'agent')),
  text text NOT NULL, cut boolean NOT NULL, way text NOT NULL, said_at timestamptz NOT NULL, seq bigint NOT NULL,
  PRIMARY KEY (customer_id, call_id, event_id));
CREATE TABLE app.call_summaries (
  customer_id int NOT NULL, call_id text NOT NULL, user_id text NOT NULL, call_date timestamptz NOT NULL,
  duration_seconds int NOT NULL, summary text NOT NULL, key_topics jsonb NOT NULL, key_variables jsonb NOT NULL,
  sentiment text NOT NULL, resolution_status text NOT NULL, revision int NOT NULL,
  fact jsonb NOT NULL, seq bigint NOT NULL,
  PRIMARY KEY (customer_id, call_id));
CREATE INDEX ON app.call_summaries (customer_id, user_id, call_date DESC);
CREATE TABLE app.memories (
  customer_id int NOT NULL, id text NOT NULL, user_id text NOT NULL, type text NOT NULL, key text NOT NULL,
  value text NOT NULL, content text NOT NULL, call_id text NOT NULL, turn int NOT NULL, evidence text NOT NULL,
  subject text NOT NULL, origin text NOT NULL, created_at timestamptz NOT NULL, seq bigint NOT NULL,
  PRIMARY KEY (customer_id, id));
CREATE INDEX ON app.memories (customer_id, user_id, created_at DESC);
CREATE TABLE app.caller_profiles (
  customer_id int NOT NULL, user_id text NOT NULL, name text NOT NULL, template text NOT NULL, profile jsonb NOT NULL,
  quick_bio text NOT NULL, first_call_at timestamptz NOT NULL, last_call_at timestamptz NOT NULL,
  total_calls int NOT NULL, profile_sha256 text NOT NULL, seq bigint NOT NULL,
  PRIMARY KEY (customer_id, user_id));
CREATE TABLE app.personality_metrics (
  customer_id int NOT NULL, user_id text NOT NULL, call_id text NOT NULL, metric text NOT NULL, micros bigint NOT NULL,
  PRIMARY KEY (customer_id, user_id, call_id, metric));
CREATE TABLE app.personality_averages (
  customer_id int NOT NULL, user_id text NOT NULL, metric text NOT NULL,
  n bigint NOT NULL, sum_micros bigint NOT NULL, min_micros bigint NOT NULL, max_micros bigint NOT NULL,
  PRIMARY KEY (customer_id, user_id, metric));
CREATE TABLE app.leads (
  customer_id int NOT NULL, user_id text NOT NULL, stage text NOT NULL, since timestamptz NOT NULL,
  first_at timestamptz NOT NULL, history jsonb NOT NULL, seq bigint NOT NULL,
  PRIMARY KEY (customer_id, user_id));
CREATE TABLE app.lead_stagings (
  customer_id int NOT NULL, user_id text NOT NULL, event_id text NOT NULL, stage text NOT NULL,
  staged_at timestamptz NOT NULL, by text NOT NULL, reason text NOT NULL, seq bigint NOT NULL,
  PRIMARY KEY (customer_id, user_id, event_id));
CREATE TABLE app.messages_taken (
  customer_id int NOT NULL, call_id text NOT NULL, event_id text NOT NULL,
  for_whom text NOT NULL, text text NOT NULL, callback text NOT NULL, taken_at timestamptz NOT NULL, seq bigint NOT NULL,
  PRIMARY KEY (customer_id, call_id, event_id));
CREATE TABLE app.texts (
  customer_id int NOT NULL, message_id text NOT NULL, call_id text NOT NULL DEFAULT '', recipient text NOT NULL DEFAULT '',
  purpose text NOT NULL DEFAULT '', body text NOT NULL DEFAULT '', sid text NOT NULL DEFAULT '', error_code text NOT NULL DEFAULT '',
  requested_at timestamptz, sent_at timestamptz, delivered_at timestamptz, failed_at timestamptz, seq bigint NOT NULL,
  PRIMARY KEY (customer_id, message_id));
CREATE INDEX ON app.texts (customer_id, call_id);
CREATE TABLE app.sms_opt_outs (
  customer_id int NOT NULL, number text NOT NULL, out boolean NOT NULL, since timestamptz NOT NULL, seq bigint NOT NULL,
  PRIMARY KEY (customer_id, number));
CREATE TABLE app.usage_days (
  customer_id int NOT NULL, day date NOT NULL, calls bigint NOT NULL, seconds bigint NOT NULL, turns bigint NOT NULL, texts bigint NOT NULL,
  PRIMARY KEY (customer_id, day));
CREATE TABLE app.inbox (
  customer_id int NOT NULL, event_id text NOT NULL,
  PRIMARY KEY (customer_id, event_id));
CREATE TABLE app.projection_offsets (
  customer_id int NOT NULL, projection text NOT NULL, seq bigint NOT NULL, stream_created timestamptz NOT NULL,
  PRIMARY KEY (customer_id, projection));

-- Work in progress: not derived from events, and not rebuilt by replay.
CREATE TABLE app.extractions (
  customer_id int NOT NULL, call_id text NOT NULL, key text NOT NULL, claimed_by text NOT NULL,
  lease_until timestamptz NOT NULL, attempts int NOT NULL, result jsonb,
  PRIMARY KEY (customer_id, call_id, key));
CREATE TABLE app.sms_outbox (
  customer_id int NOT NULL, message_id text NOT NULL, recipient text NOT NULL,
  state text NOT NULL CHECK (state IN ('claimed', 'sent', 'failed')),
  claimed_by text NOT NULL, claimed_at timestamptz NOT NULL, first_claimed_at timestamptz NOT NULL,
  attempts int NOT NULL, sid text NOT NULL DEFAULT '', error_code text NOT NULL DEFAULT '',
  PRIMARY KEY (customer_id, message_id));

-- How far the projections have read as a whole: where to begin after a start.
-- A lower bound only; each tenant's own row above is what counts.
CREATE TABLE app.projection_floor (
  projection text PRIMARY KEY, seq bigint NOT NULL);
ALTER TABLE app.projection_floor OWNER TO app_owner;
GRANT SELECT, INSERT, UPDATE ON app.projection_floor TO app_platform;

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['calls','turns','call_summaries','memories','caller_profiles','personality_metrics',
    'personality_averages','leads','lead_stagings','messages_taken','texts','sms_opt_outs','usage_days','inbox',
    'projection_offsets','extractions','sms_outbox']
  LOOP
    EXECUTE format('ALTER TABLE app.%I OWNER TO app_owner', t);
    EXECUTE format('ALTER TABLE app.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE app.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY tenant_guard ON app.%I AS RESTRICTIVE TO app_rw USING (customer_id = current_setting(''app.customer_id'')::int)', t);
    EXECUTE format('CREATE POLICY tenant_allow ON app.%I TO app_rw USING (customer_id = current_setting(''app.customer_id'')::int) WITH CHECK (customer_id = current_setting(''app.customer_id'')::int)', t);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON app.%I TO app_rw', t);
  END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
SELECT 1;
