-- +goose Up
-- Which event lies at each position: where the stream holds another one there,
-- it has lost what was read of it after some place, and is read anew.
ALTER TABLE app.projection_floor ADD COLUMN event_id text NOT NULL DEFAULT '';
ALTER TABLE app.projection_offsets ADD COLUMN event_id text NOT NULL DEFAULT '';

-- +goose Down
SELECT 1;
