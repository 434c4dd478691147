-- +goose Up
-- A tenant that moves in keeps its id, which no new tenant may be given then.
GRANT SELECT, UPDATE ON SEQUENCE app.customer_ids TO app_platform;

-- +goose Down
SELECT 1;
