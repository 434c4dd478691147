package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/testenv"
)

// wrongUsage is, by command, what it must refuse, and a word of why: the flag
// that is wrong, or what is there too much. EMPTY, THERE and MISSING are files.
func wrongUsage() map[string]map[string]string {
	return map[string]map[string]string{
		"serve":        {"-nothing": "-nothing", "extra": "extra", "-workers nobody": "-workers", "-workers": "-workers"},
		"demo":         {"-nothing": "-nothing", "extra": "extra", "-once=maybe": "-once"},
		"migrate":      {"-nothing": "-nothing", "extra": "extra", "-app-password": "-app-password"},
		"simulate":     {"-nothing": "-nothing", "extra": "extra", "-openai nowhere": "-openai", "-twilio 8102": "-twilio", "-first -1s": "-first", "-chunk soon": "-chunk"},
		"apart":        {"-nothing": "-nothing", "extra": "extra", "-listen 8080": "-listen", "-first -1s": "-first"},
		"dead-letters": {"": "list or redrive", "nothing": "nothing", "list extra": "extra", "list -limit 0": "-limit", "list -limit x": "-limit", "redrive": "seq", "redrive x": "x", "redrive all 5": "5", "redrive 5 all": "all"},
		"call": {
			"": "-script", "-to +12065550142 -from +12065550150": "-script", "-nothing": "-nothing", "-to 5 -from anonymous -script THERE": "-to",
			"-to +12065550142 -from +12065550150 -script MISSING": "-script", "-to +12065550142 -from +12065550150 -script THERE": "-script", "-to +12065550142 -from +12065550150 -script THERE extra": "extra",
			"-to +12065550142 -from +12065550150 -script THERE -url nowhere": "-url", "-to +12065550142 -from +12065550150 -script THERE -parallel 0": "-parallel", "-to +12065550142 -from +12065550150 -script THERE -speak -1": "-speak",
		},
		"tenant": {
			"": "create", "nothing": "nothing", "list extra": "extra", "list -nothing": "-nothing", "templates extra": "extra",
			"create": "-name", "create -name A": "-number", "create -name A -number +12065550142 extra": "extra", "create -nothing": "-nothing",
			"show": "customer_id", "show x": "customer_id", "show 1 extra": "extra", "show 4294967298": "customer_id", "suspend": "customer_id", "suspend 1 extra": "extra", "resume x": "customer_id",
			"set": "customer_id", "set 1": "key=value", "set 1 agent": "key=value", "set x agent=Sam": "customer_id",
			"api-key x": "customer_id", "api-key 1 extra": "extra", "api-key 1 -expires soon": "-expires", "api-key 1 -limit -1": "-limit", "api-key 1 -name=": "-name", "api-keys": "customer_id", "api-keys 1 extra": "extra",
			"revoke-key": "customer_id", "revoke-key 1": "KEYID", "revoke-key 1 a b": "KEYID",
			"export-all": "customer_id", "export-all x": "customer_id", "export-all 1 2": "2", "export-all 1 -out THERE": "THERE", "export-all 1 -wait -1s": "-wait", "export-all 1 -out MISSING -passphrase-file EMPTY": "-passphrase-file",
			"import-all": "file", "import-all MISSING": "MISSING", "import-all THERE -passphrase-file MISSING": "-passphrase-file", "import-all -nothing": "-nothing",
		},
		"platform-key": {"": "create", "nothing": "nothing", "create extra": "extra", "create -limit x": "-limit", "create -expires 0d": "-expires", "list extra": "extra", "revoke": "KEYID", "revoke a b": "KEYID"},
		"replay": {
			"-swap -tenant 4294967298": "-tenant", "-swap -tenant 0": "-tenant", "-tenant 1 -caller=": "-caller", "-tenant 1 -caller 5": "-caller", "-caller +12065550142": "-tenant", "-as-of=": "-as-of", "-as-of yesterday": "-as-of",
			"-swap tenant 1": "tenant", "-hash -swap": "-hash", "-compare -swap": "-compare", "-swap -as-of 2026-01-31T15:04:05Z": "-as-of", "-nothing": "-nothing",
		},
		"rederive": {
			"": "-tenant", "-tenant -1": "-tenant", "-tenant 1 extra": "extra", "-tenant 1 -diff": "-run", "-run a -diff -adopt": "-adopt", "-tenant 1 -caller 5": "-caller", "-tenant 1 -since yesterday": "-since",
			"-tenant 1 -since 2026-02-01 -until 2026-01-31": "-until", "-tenant 1 -prompt EMPTY": "-prompt", "-tenant 1 -prompt MISSING": "-prompt", "-tenant 1 -price-in -1": "prices", "-tenant 1 -parallel 0": "-parallel", "-nothing": "-nothing",
			"-tenant 1 -price-in NaN": "prices", "-tenant 1 -price-out +Inf": "prices", "-tenant 4294967298": "-tenant", "-tenant 1 -caller=": "-caller", "-tenant 1 -call=": "-call", "-run a/b -diff": "-run",
		},
		"export": {"": "-tenant", "-tenant 4294967298": "-tenant", "-tenant x": "-tenant", "-tenant 1 -caller=": "-caller", "-tenant 1 -caller 5": "-caller", "-tenant 1 -json": "-caller", "-tenant 1 extra": "extra"},
		"erase": {
			"": "-tenant", "-yes": "-tenant", "-tenant 1": "-caller", "-all -yes -tenant 4294967298": "-tenant", "-tenant 1 -call= -yes": "-call", "-json -verify word": "-tenant", "-by x -housekeeping": "-tenant", "-tenant 1 -all -yes -by=": "-by",
			"-tenant 1 -caller +12065550142 -all": "-all", "-tenant 1 -caller Zelda": "-caller", "-reapply -tenant 1": "-reapply", "-tenant 1 -all now": "now", "-tenant 1 -all -wait -5m": "-wait", "-nothing": "-nothing",
		},
		"retention": {"-tenant 4294967296": "-tenant", "-tenant 0": "-tenant", "now": "now", "-nothing": "-nothing", "-dry-run=perhaps": "-dry-run"},
		"import-legacy": {
			"": "-from", "-from postgres:///x -customer 4294967298": "-customer", "-from postgres:///x -customer 0": "-customer", "-from nonsense": "-from", "-from postgres:///x extra": "extra", "-from postgres:///x -region Atlantis": "-region",
			"-from postgres:///x -wait -1s": "-wait", "-nothing": "-nothing",
		},
		"migrate-legacy": {"": "-dsn", "-dsn nonsense": "-dsn", "-dsn postgres:///x more": "more", "-nothing": "-nothing"},
	}
}

// What is wrong with a command is said in one sentence, before anything is
// opened or started: DATA_DIR stays empty.
func TestWrongUsageIsToldAtOnce(t *testing.T) {
	dir, data := t.TempDir(), filepath.Join(t.TempDir(), "data")
	t.Setenv("DATA_DIR", data)
	files := strings.NewReplacer("EMPTY", filepath.Join(dir, "empty"), "THERE", filepath.Join(dir, "there"), "MISSING", filepath.Join(dir, "missing"))
	for path, text := range map[string]string{"EMPTY": " \n", "THERE": "Another prompt."} {
		if err := os.WriteFile(files.Replace(path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all := wrongUsage()
	for _, c := range commands() {
		if len(all[c.name]) == 0 {
			t.Errorf("%s has no case", c.name)
		}
		for args, why := range all[c.name] {
			code, said := complaint(t, append([]string{c.name}, strings.Fields(files.Replace(args))...)...)
			if code != app.ExitUsage || !strings.Contains(said, files.Replace(why)) || strings.Count(said, "\n") != 1 {
				t.Errorf("%s %s: exit %d, want %d and one line about %s:\n%s", c.name, args, code, app.ExitUsage, why, said)
			}
		}
		if code, _ := complaint(t, c.name, "-h"); code != app.ExitOK {
			t.Errorf("%s -h: exit %d", c.name, code)
		}
	}
	if code, _ := complaint(t, "nothing"); code != app.ExitUsage {
		t.Errorf("no such command: exit %d", code)
	}
	if _, err := os.Stat(data); err == nil {
		t.Error("something was opened or started")
	}
}

// A customer there is not is a mistake of whoever asked, whatever is asked.
func TestUnknownCustomer(t *testing.T) {
	d, s := testenv.Postgres(t), testenv.Server(t)
	t.Setenv("DATABASE_URL", d.URL)
	t.Setenv("NATS_URL", s.URL())
	t.Setenv("DATA_DIR", t.TempDir())
	t.Setenv("MASTER_KEY", strings.Repeat("0f", 32))
	archive := filepath.Join(t.TempDir(), "archive")
	for _, args := range []string{
		"tenant show 999", "tenant set 999 agent=Sam", "tenant set 999 template=dental_v9", "tenant suspend 999", "tenant resume 999", "tenant api-key 999", "tenant api-keys 999", "tenant revoke-key 999 x", "tenant export-all 999 -out " + archive,
		"replay -tenant 999", "replay -tenant 999 -hash", "rederive -tenant 999 -dry-run", "rederive -tenant 999 -run a -diff", "export -tenant 999 -out " + archive, "export -tenant 999 -caller +12065550142 -out " + archive,
		"erase -tenant 999 -caller +12065550142 -yes", "erase -tenant 999 -call CA1 -yes", "erase -tenant 999 -all -yes", "retention -tenant 999", "import-legacy -from postgres:///x -customer 999",
	} {
		if code, said := complaint(t, strings.Fields(args)...); code != app.ExitUsage || said != "there is no customer 999; see neurosphere tenant list\n" {
			t.Errorf("%s: exit %d\n%s", args, code, said)
		}
	}
	if _, err := os.Stat(archive); err == nil {
		t.Error("something was written")
	}
	templates, err := store.Templates()
	if err != nil {
		t.Fatal(err)
	}
	known := d.Customer(t, settings.Default("Acme", templates[0])).Tenant.String()
	for args, want := range map[string]int{
		"erase -tenant " + known + " -call CA1 -yes": app.ExitFailed, "tenant revoke-key " + known + " x": app.ExitFailed,
		"tenant set " + known + " template=none": app.ExitUsage, "tenant set " + known + " agent=Sam nothing=x": app.ExitUsage, "tenant set " + known + " time_zone=Mars": app.ExitUsage,
		"tenant create -name A -number +12065550142 -template none": app.ExitUsage, "tenant create -name A -number 5": app.ExitUsage,
	} {
		if code, said := complaint(t, strings.Fields(args)...); code != want {
			t.Errorf("%s: exit %d, want %d\n%s", args, code, want, said)
		}
	}
}

// complaint is what a command says to whoever called it, on standard error.
func complaint(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	code, out := captured(t, &os.Stderr, args...)
	return code, string(out)
}
