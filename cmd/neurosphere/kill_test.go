package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/replay"
	"neurosphere.ai/neurosphere/internal/testenv"
)

// commandEnv, set to anything, makes the test binary the program itself: a
// process of its own, which can be killed.
const commandEnv = "NEUROSPHERE_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(commandEnv) != "" {
		main()
	}
	os.Exit(m.Run())
}

// program is this program with some arguments, on a database and a bus.
func program(t *testing.T, db *testenv.Database, server *testenv.BusServer, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], args...)
	c.Env = append(os.Environ(), commandEnv+"=1", "DATABASE_URL="+db.URL, "NATS_URL="+server.URL(), "DATA_DIR="+t.TempDir())
	return c
}

// A fatality is a row that a replay comes to, in the middle of a transaction,
// and is killed at; what is in use by then are the rows of the customers before.
type fatality struct {
	row    string
	before events.Tenant
}

// fatalities come one after the other: reading, folding, swapping.
func fatalities(log []events.Event, want kept) (all []fatality) {
	user := map[events.Tenant]string{}
	for _, profile := range slices.Sorted(maps.Keys(want.Hashes)) {
		id, caller, _ := strings.Cut(profile, " ")
		tenant, _ := events.ParseTenant(id)
		user[tenant] = caller
	}
	tenants := slices.Sorted(maps.Keys(user))
	first, middle, last := tenants[0], tenants[len(tenants)/2], tenants[len(tenants)-1]
	call := slices.IndexFunc(log, func(e events.Event) bool { return e.Tenant == middle && e.Call != "" })
	averages := func(schema string, id events.Tenant) string {
		return fmt.Sprintf("INSERT INTO %s.personality_averages (customer_id, user_id, averages, seq) VALUES (%s, '%s', '{}', 0)", schema, id, user[id])
	}
	return []fatality{
		{row: fmt.Sprintf("INSERT INTO rebuild.calls (customer_id, call_id, received, seq) VALUES (%s, '%s', false, 0)", middle, log[call].Call)},
		{row: averages("rebuild", middle)},
		{row: averages("app", first), before: first},
		{row: averages("app", middle), before: middle},
		{row: averages("app", last), before: last},
	}
}

// kill starts a replay as operators do, and kills it.
func (at fatality) kill(t *testing.T, db *testenv.Database, server *testenv.BusServer) {
	t.Helper()
	waited, release := db.Hold(t, at.row)
	defer release()
	c := program(t, db, server, "replay", "-swap")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	waited()
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _ = c.Wait(); c.ProcessState.Exited() {
		t.Fatalf("ended by itself at %s: %v", at.row, c.ProcessState)
	}
}

// killedForReal has the command killed everywhere, and then left alone. What is
// in use meanwhile is, for each customer, all of the log or nothing of it.
func killedForReal(t *testing.T, db *testenv.Database, log []events.Event, want kept, of map[events.Tenant]kept) {
	server := testenv.Server(t)
	put(t, server.Bus(t, bus.Options{}), log)
	for _, at := range fatalities(log, want) {
		at.kill(t, db, server)
		for id, whole := range of {
			should := kept{map[string][]string{}, map[string]string{}}
			if id < at.before {
				should = whole
			}
			if diff := cmp.Diff(should, rowsOf(t, db, []events.Settings{{Tenant: id}})); diff != "" {
				t.Errorf("killed at %s, customer %s: %s", at.row, id, diff)
			}
		}
	}
	out, err := program(t, db, server, "replay", "-swap", "-json").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	var said struct{ Report replay.Report }
	if err := json.Unmarshal(lines[len(lines)-1], &said); err != nil || !said.Report.Swapped || !said.Report.Resumed {
		t.Errorf("%+v, %v", said.Report, err)
	}
}
