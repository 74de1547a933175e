package cli

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"

	"github.com/otasim/otasim/cloud/quota"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario/file"
)

var update = flag.Bool("update", false, "write the JSON Schemas anew")

// obj is a JSON object; encoding/json sorts its keys.
type obj = map[string]any

// generator makes a JSON Schema from struct types: json tags are the keys, doc comments the descriptions, jsonschema tags the
// limits.
type generator struct {
	docs   map[string]string // "Type" and "Type.Field"
	strict bool              // unknown keys are mistakes; only what is tagged required must be there
}

// leaves are the forms of scalar types.
var leaves = map[reflect.Type]obj{
	reflect.TypeFor[file.String]():        {"type": "string"},
	reflect.TypeFor[file.Label]():         {"type": []string{"string", "number"}},
	reflect.TypeFor[file.Path]():          {"type": "string"},
	reflect.TypeFor[file.Int]():           {"type": "integer"},
	reflect.TypeFor[file.Hex]():           {"type": []string{"integer", "string"}},
	reflect.TypeFor[file.Bool]():          {"type": []string{"boolean", "string", "integer"}, "enum": []any{true, false, "y", "n", "yes", "no", 0, 1}},
	reflect.TypeFor[file.Duration]():      {"type": []string{"string", "integer"}, "pattern": `^(0|([0-9]+(\.[0-9]+)? ?(ns|us|µs|ms|s|m|h|d) ?)+)$`, "examples": []string{"90s", "1h30m"}},
	reflect.TypeFor[file.DurationRange](): {"type": []string{"string", "integer"}, "pattern": `^[0-9a-zµ. ]+$`, "examples": []string{"5s..10m"}},
	reflect.TypeFor[file.Size]():          {"type": []string{"string", "integer"}, "pattern": `^(0x[0-9a-fA-F]+|[0-9_]+(\.[0-9]+)? ?[A-Za-z]*)$`, "examples": []string{"4KiB", "1180 KiB"}},
	reflect.TypeFor[file.Rate]():          {"type": "string", "pattern": `^[0-9_]+(\.[0-9]+)? ?[kKMG]?(bps|bit/s)$`, "examples": []string{"400kbps", "8Mbps"}},
	reflect.TypeFor[file.Share]():         {"type": "string", "pattern": `^[0-9]+(\.[0-9]{1,4})? ?%$`, "examples": []string{"10%"}},
	reflect.TypeFor[file.Decimal]():       {"type": "number"},
	reflect.TypeFor[file.Expr]():          {"type": "string"},
	reflect.TypeFor[file.Any]():           {},
	reflect.TypeFor[file.Quotas](): {"anyOf": []any{obj{"type": "string", "enum": []string{"aws-default", "unlimited"}},
		obj{"type": "object", "propertyNames": obj{"enum": settableQuotas()}, "additionalProperties": obj{"anyOf": []any{obj{"type": "integer", "minimum": 1}, obj{"type": "string", "enum": []string{"unlimited"}}}}}}},
}

func settableQuotas() (names []string) {
	for _, r := range quota.Rows {
		if !r.Fixed {
			names = append(names, string(r.Name))
		}
	}
	return names
}

func (g *generator) of(t reflect.Type, limits string) obj {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if leaf, ok := leaves[t]; ok {
		out := obj{}
		for k, v := range leaf {
			out[k] = v
		}
		bounded(out, limits)
		return out
	}
	switch {
	case file.Generic(t) == "Map":
		entry, _ := t.Elem().FieldByName("Value")
		return obj{"type": "object", "additionalProperties": g.of(entry.Type, "")}
	case file.Generic(t) == "OneOrMany":
		list, _ := t.FieldByName("List")
		one := g.of(list.Type.Elem(), limits)
		return obj{"anyOf": []any{one, obj{"type": "array", "items": one}}}
	}
	switch t.Kind() {
	case reflect.Slice:
		out := obj{"type": "array", "items": g.of(t.Elem(), strings.ReplaceAll(limits, "minItems=1", ""))}
		if strings.Contains(limits, "minItems=1") {
			out["minItems"] = 1
		}
		return out
	case reflect.Map:
		return obj{"type": "object", "additionalProperties": g.of(t.Elem(), "")}
	case reflect.Struct:
		return g.object(t)
	case reflect.Bool:
		return obj{"type": "boolean"}
	case reflect.String:
		return obj{"type": "string"}
	case reflect.Float64:
		return obj{"type": "number"}
	}
	return obj{"type": "integer"}
}

func bounded(out obj, limits string) {
	var enum []any
	for part := range strings.SplitSeq(limits, ",") {
		name, arg, _ := strings.Cut(part, "=")
		switch name {
		case "enum", "later":
			enum = append(enum, arg)
		case "minimum", "maximum":
			if n, err := strconv.Atoi(arg); err == nil && out["type"] == "integer" {
				out[name] = n
			}
		}
	}
	if enum != nil {
		out["enum"] = enum
	}
}

func (g *generator) object(t reflect.Type) obj {
	props, required := obj{}, []string{}
	var add func(t reflect.Type)
	add = func(t reflect.Type) {
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Anonymous {
				add(f.Type)
				continue
			}
			key, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
			if key == "" || key == "-" {
				continue
			}
			sub := obj{}
			if !g.strict && f.Type == reflect.TypeFor[*report.Result]() {
				sub["$ref"] = "#"
			} else {
				sub = g.of(f.Type, f.Tag.Get("jsonschema"))
			}
			if !g.strict && f.Type.Kind() == reflect.Pointer && opts != "omitempty" {
				sub = obj{"anyOf": []any{sub, obj{"type": "null"}}}
			}
			if doc := g.docs[t.Name()+"."+f.Name]; doc != "" {
				sub["description"] = doc
				if f.Tag.Get("later") != "" {
					sub["description"] = doc + " Not supported by this version."
				}
			}
			props[key] = sub
			if g.strict && slices.Contains(strings.Split(f.Tag.Get("jsonschema"), ","), "required") || !g.strict && opts != "omitempty" {
				required = append(required, key)
			}
		}
	}
	add(t)
	out := obj{"type": "object", "properties": props, "additionalProperties": !g.strict}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// comments reads the doc comments of types and fields.
func comments(t *testing.T, paths ...string) map[string]string {
	out := map[string]string{}
	for _, path := range paths {
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		require.NoError(t, err)
		collect(parsed, out)
	}
	return out
}

func collect(parsed *ast.File, out map[string]string) {
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if st, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range st.Fields.List {
				text := strings.Join(strings.Fields(f.Doc.Text()+" "+f.Comment.Text()), " ")
				for _, name := range f.Names {
					out[spec.Name.Name+"."+name.Name] = text
				}
			}
		}
		return true
	})
}

func generate(t *testing.T, g *generator, typ reflect.Type, id, title string) []byte {
	doc := g.of(typ, "")
	doc["$schema"], doc["$id"], doc["title"] = "https://json-schema.org/draft/2020-12/schema", id, title
	text, err := json.MarshalIndent(doc, "", "  ")
	require.NoError(t, err)
	return append(text, '\n')
}

// TestSchemas holds the committed schemas against the types; go test ./sim/cli -update writes them.
func TestSchemas(t *testing.T) {
	for _, c := range []struct {
		path string
		text []byte
	}{
		{"schema/scenario.json", generate(t, &generator{comments(t, "../scenario/file/types.go"), true}, reflect.TypeFor[file.Scenario](),
			"https://github.com/otasim/otasim/sim/cli/schema/scenario.json", "otasim scenario")},
		{"schema/plan.json", generate(t, &generator{comments(t, "../scenario/file/plan.go", "../scenario/file/types.go"), true}, reflect.TypeFor[file.Plan](),
			"https://github.com/otasim/otasim/sim/cli/schema/plan.json", "otasim plan")},
		{"schema/result.json", generate(t, &generator{comments(t, "../report/result.go", "../report/detail.go"), false}, reflect.TypeFor[report.Result](),
			"https://github.com/otasim/otasim/sim/cli/schema/result.json", "otasim result")},
	} {
		if *update {
			require.NoError(t, os.WriteFile(c.path, c.text, 0o644))
		}
		have, err := os.ReadFile(c.path)
		require.NoError(t, err)
		require.Equal(t, string(c.text), string(have), "run: go test ./sim/cli -run TestSchemas -update")
	}
}

func compileSchema(t *testing.T, path string) *jsonschema.Schema {
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("schema.json", doc))
	s, err := c.Compile("schema.json")
	require.NoError(t, err)
	return s
}

// jsonOf reads YAML as an editor with the schema does.
func jsonOf(t *testing.T, text []byte) any {
	var v any
	require.NoError(t, yaml.Load(text, &v))
	asJSON, err := json.Marshal(v)
	require.NoError(t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	require.NoError(t, err)
	return doc
}

// TestSchemaAgreesWithLoader: what the loader takes the schema takes; what the schema refuses the loader refuses.
func TestSchemaAgreesWithLoader(t *testing.T) {
	schema := compileSchema(t, "schema/scenario.json")
	good, err := os.ReadFile("template/first-update.yaml")
	require.NoError(t, err)
	require.NoError(t, schema.Validate(jsonOf(t, good)))

	bad := map[string][2]string{
		"unknown key":      {"seed: 1", "sede: 1"},
		"no duration":      {"duration: 6h", ""},
		"duration":         {"duration: 6h", "duration: 6 parsecs"},
		"type":             {"seed: 1", "seed: many"},
		"count":            {"count: 10,", "count: 0,"},
		"share":            {"loss: 0.5%", "loss: half"},
		"link speed":       {"downlink: 8Mbps", "downlink: 8"},
		"target":           {"target: esp32", "target: esp8266"},
		"rollout rate":     {"maximumPerMinute: 10", "maximumPerMinute: 100000"},
		"list":             {"targets: [canary]", "targets: canary"},
		"version of files": {"otasim/v1", "otasim/v9"},
	}
	for name, edit := range bad {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, string(good), edit[0])
			text := strings.Replace(string(good), edit[0], edit[1], 1)
			require.Error(t, schema.Validate(jsonOf(t, []byte(text))), "the schema takes it")
			src := &file.Source{Name: "bad.yaml"}
			root, ps := file.Parse(src, []byte(text))
			require.Empty(t, ps)
			var f file.Scenario
			require.NotEmpty(t, file.Decode(root, &f), "the decoder takes it")
		})
	}
}

// TestResultFollowsItsSchema: also an empty result has every key, and no null in the place of a list.
func TestResultFollowsItsSchema(t *testing.T) {
	schema := compileSchema(t, "schema/result.json")
	for _, r := range []*report.Result{{}, {Jobs: []report.Job{{ID: "a"}}, Variants: []report.Variant{{Name: "v", Result: &report.Result{}}}, CostUSD: &report.Cost{}}} {
		var buf bytes.Buffer
		require.NoError(t, report.WriteJSON(&buf, []*report.Result{r}))
		doc, err := jsonschema.UnmarshalJSON(&buf)
		require.NoError(t, err)
		require.NoError(t, schema.Validate(doc))
	}
}
