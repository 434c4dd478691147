// Package check_test reads what the platform is deployed with by the same
// parsers that will read it there. It is a module of its own: none of them
// belongs into the product.
package check_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

const root = "../.."

// pipeline is the order of compose.yaml: a call's own.
var pipeline = []string{"nats", "postgres", "migrate", "ingress", "conversation", "summarizer", "profiler", "notifier", "memory", "edge"}

var workers = []string{"ingress", "conversation", "summarizer", "profiler", "notifier", "memory"}

// wanted is what .env must have at least.
func wanted() map[string]string {
	return map[string]string{
		"SITE": "phone.example.com", "NATS_PASSWORD": "p1", "NATS_SYS_PASSWORD": "p2",
		"DATABASE_PASSWORD": "p3", "DATABASE_ADMIN_PASSWORD": "p4", "MASTER_KEY": "k",
		"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "t", "OPENAI_API_KEY": "o",
	}
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// load reads text as docker compose would, with env instead of .env.
func load(t *testing.T, text string, env map[string]string) (*types.Project, error) {
	t.Helper()
	dir, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	return loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  dir,
		ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(dir, "compose.yaml"), Content: []byte(text)}},
		Environment: env,
	})
}

func mustLoad(t *testing.T) *types.Project {
	t.Helper()
	p, err := load(t, read(t, "compose.yaml"), wanted())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestComposeLoads(t *testing.T) {
	p := mustLoad(t)
	names := p.ServiceNames()
	want := slices.Sorted(slices.Values(pipeline))
	if !slices.Equal(names, want) {
		t.Errorf("services are %v, want %v", names, want)
	}
	text := read(t, "compose.yaml")
	_, services, _ := strings.Cut(text, "\nservices:\n")
	services, _, _ = strings.Cut(services, "\nnetworks:\n")
	var order []string
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z]+):$`).FindAllStringSubmatch(services, -1) {
		order = append(order, m[1])
	}
	if !slices.Equal(order, pipeline) {
		t.Errorf("services are in the order %v, want the pipeline's: %v", order, pipeline)
	}
}

func TestComposeIsReadStrictly(t *testing.T) {
	text := strings.Replace(read(t, "compose.yaml"), "    ports:", "    prots:", 1)
	if _, err := load(t, text, wanted()); err == nil {
		t.Error("a misspelt key was not noticed: this check proves nothing")
	}
}

func TestComposeNamesWhatIsMissing(t *testing.T) {
	for name := range wanted() {
		t.Run(name, func(t *testing.T) {
			env := wanted()
			delete(env, name)
			if _, err := load(t, read(t, "compose.yaml"), env); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("without %s: %v", name, err)
			}
		})
	}
}

func TestEveryProgramIsAService(t *testing.T) {
	p := mustLoad(t)
	for _, w := range workers {
		if b := p.Services[w].Build; b == nil || b.Args["PROGRAM"] == nil || *b.Args["PROGRAM"] != w {
			t.Errorf("service %s does not build the program %s", w, w)
		}
	}
	if b := p.Services["migrate"].Build; b == nil || *b.Args["PROGRAM"] != "neurosphere" || !slices.Equal(p.Services["migrate"].Command, []string{"migrate"}) {
		t.Error("service migrate does not run neurosphere migrate")
	}
	programs, err := filepath.Glob(filepath.Join(root, "cmd", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range programs {
		if name := filepath.Base(dir); name != "neurosphere" && !slices.Contains(workers, name) {
			t.Errorf("cmd/%s has no service in compose.yaml", name)
		}
	}
}

func TestServicesSetOnlyWhatProgramsRead(t *testing.T) {
	p := mustLoad(t)
	table := envExample(t)
	for _, name := range append([]string{"migrate"}, workers...) {
		for v := range p.Services[name].Environment {
			if !slices.Contains(table, v) {
				t.Errorf("service %s sets %s, which is not in .env.example", name, v)
			}
		}
	}
	want := natsVariables(t)
	if got := slices.Sorted(maps.Keys(p.Services["nats"].Environment)); !slices.Equal(got, want) {
		t.Errorf("service nats sets %v, nats.conf reads %v", got, want)
	}
}

func TestOnlyTheEdgeIsReachedFromOutside(t *testing.T) {
	p := mustLoad(t)
	for name, s := range p.Services {
		if len(s.Ports) > 0 != (name == "edge") {
			t.Errorf("service %s publishes %d ports", name, len(s.Ports))
		}
		_, inside := s.Networks["inside"]
		_, outside := s.Networks["default"]
		if (name == "nats" || name == "postgres") && (outside || !inside) {
			t.Errorf("service %s is not kept inside", name)
		}
		if name == "edge" && inside {
			t.Error("the edge reaches the bus and the database")
		}
	}
	if !p.Networks["inside"].Internal {
		t.Error("network inside has a way out")
	}
}

func TestMonitoringStaysInside(t *testing.T) {
	if listen := mustLoad(t).Services["nats"].Environment["NATS_MONITOR"]; listen == nil || !strings.HasPrefix(*listen, "127.0.0.1:") {
		t.Error("NATS_MONITOR of service nats is not on loopback")
	}
}

func TestMountedFilesExist(t *testing.T) {
	for name, s := range mustLoad(t).Services {
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeBind {
				continue
			}
			if _, err := os.Stat(v.Source); err != nil {
				t.Errorf("service %s: %v", name, err)
			}
		}
		if b := s.Build; b != nil {
			if _, err := os.Stat(filepath.Join(b.Context, "Dockerfile")); err != nil {
				t.Errorf("service %s: %v", name, err)
			}
		}
	}
}

// The server of the image, the one inside neurosphere and the one tested here
// are of one version.
func TestOneVersionOfNATS(t *testing.T) {
	version := regexp.MustCompile(`github\.com/nats-io/nats-server/v2 v(\S+)`)
	ours, theirs := version.FindStringSubmatch(read(t, "go.mod")), version.FindStringSubmatch(read(t, "deploy", "check", "go.mod"))
	if ours == nil || theirs == nil || ours[1] != theirs[1] {
		t.Fatalf("go.mod has %v, deploy/check/go.mod has %v", ours, theirs)
	}
	if got, want := mustLoad(t).Services["nats"].Image, "nats:"+ours[1]+"-alpine"; got != want {
		t.Errorf("compose.yaml has the image %s, want %s", got, want)
	}
}

// envExample lists the names of .env.example, each of which is explained by
// one line above it.
func envExample(t *testing.T) (names []string) {
	t.Helper()
	explained := false
	line := regexp.MustCompile(`^([A-Z][A-Z0-9_]*)=$`)
	for i, text := range strings.Split(strings.TrimSpace(read(t, ".env.example")), "\n") {
		if m := line.FindStringSubmatch(text); m != nil {
			if !explained || slices.Contains(names, m[1]) {
				t.Errorf(".env.example:%d: %s is not explained by the line above, or is there twice", i+1, m[1])
			}
			names, explained = append(names, m[1]), false
			continue
		}
		if text != "" && !strings.HasPrefix(text, "# ") {
			t.Errorf(".env.example:%d: want NAME=, # or nothing, got %q", i+1, text)
		}
		explained = strings.HasPrefix(text, "# ")
	}
	return names
}

func TestEnvironmentIsExplained(t *testing.T) {
	if names := envExample(t); len(names) < 16 {
		t.Errorf(".env.example has %d names, the contract more", len(names))
	}
}
