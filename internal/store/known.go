package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// CallerKnown is what the rows of one caller add up to.
type CallerKnown struct {
	Name        string
	First, Last *time.Time
	Calls       int
	Profile     []byte // JSON, by path
	Averages    map[string]Average
	Summaries   int
	Memories    int
}

// CallersKnown looks callers up, many at a time; whom nothing is known of is
// not in the result.
func (t *Tenant) CallersKnown(ctx context.Context, users []string) (map[string]CallerKnown, error) {
	out := map[string]CallerKnown{}
	_, err := many(ctx, t, func(r pgx.CollectableRow) (none struct{}, err error) {
		var user string
		var k CallerKnown
		var averages []byte
		if err := r.Scan(&user, &k.Name, &k.First, &k.Last, &k.Calls, &k.Profile, &averages, &k.Summaries, &k.Memories); err != nil {
			return none, err
		}
		if averages != nil {
			err = json.Unmarshal(averages, &k.Averages)
		}
		out[user] = k
		return none, err
	}, `
		SELECT p.user_id, p.name, p.first_call_at, p.last_call_at, p.total_calls, p.profile,
			(SELECT averages FROM personality_averages a WHERE a.customer_id = $1 AND a.user_id = p.user_id),
			(SELECT count(*) FROM call_summaries s WHERE s.customer_id = $1 AND s.user_id = p.user_id),
			(SELECT count(*) FROM memories m WHERE m.customer_id = $1 AND m.user_id = p.user_id)
		FROM caller_profiles p WHERE p.customer_id = $1 AND p.user_id = ANY ($2)`, users)
	return out, err
}
