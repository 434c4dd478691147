-- +goose Up
-- What is being rebuilt can be rebuilt once more: it is not written to the
-- database's own log. After a crash these tables are empty, their positions
-- with them, and a replay begins anew. They have the indexes a replay itself
-- needs; those for reading are those of the tables in use.
-- +goose StatementBegin
DO $$
DECLARE t text; i text;
BEGIN
  FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'rebuild' LOOP
    EXECUTE format('ALTER TABLE rebuild.%I SET UNLOGGED', t);
    -- A caller's memories are replaced as a whole, an erased call's texts and facts removed.
    FOR i IN SELECT indexrelid::regclass::text FROM pg_index x
      WHERE indrelid = format('rebuild.%I', t)::regclass AND NOT indisunique AND indpred IS NULL AND t <> 'texts'
        AND NOT (t = 'memories' AND indkey[1] = (SELECT attnum FROM pg_attribute WHERE attrelid = x.indrelid AND attname = 'user_id')) LOOP
      EXECUTE 'DROP INDEX ' || i;
    END LOOP;
  END LOOP;
  ALTER TABLE rebuild.memories DROP COLUMN search; -- made of the others once they are in use
END $$;
-- +goose StatementEnd

-- +goose Down
SELECT 1;
