package file

// Plan is one capacity plan: a scenario, what to vary in it, and what to ask of it.
type Plan struct {
	// Version of the file format.
	APIVersion String `json:"apiVersion" jsonschema:"required,enum=otasim/v1"`
	// Kind of the file.
	Kind String `json:"kind" jsonschema:"required,enum=Plan"`
	// Name, description and tags.
	Metadata Metadata `json:"metadata" jsonschema:"required"`
	// Scenario that is run at every point.
	Base Path `json:"base" jsonschema:"required"`
	// First seed; a point with several seeds takes the ones that follow. The same seeds at every point: differences are not noise. 1 if absent.
	Seed Int `json:"seed" jsonschema:"minimum=0"`
	// Runs of each point. 1 if absent.
	Seeds Int `json:"seeds" jsonschema:"minimum=1,maximum=1000"`
	// Scale the fleet to this many devices.
	Devices Int `json:"devices" jsonschema:"minimum=1,maximum=5000000"`
	// Values of the scenario at every point, addressed as by --set.
	Set Map[Any] `json:"set"`
	// What is varied, by name.
	Parameters Map[Parameter] `json:"parameters" jsonschema:"required"`
	// grid runs every combination, random draws so many of them.
	Search Search `json:"search"`
	// What should be small: time_to_50, time_to_90, time_to_99, cost, hurt, messages, throttled, ... The first one decides between the points that keep the constraints. time_to_99, cost and hurt if absent.
	Minimize []String `json:"minimize"`
	// What every run of a point must keep: "time_to_99 < 6h", "bricked == 0", "cost <= 20".
	Constraints []String `json:"constraints"`
	// Virtual time and wall time after which a run is given up.
	Until Duration `json:"until"`
}

// Parameter is one thing that is varied. It has exactly one of path and choices.
type Parameter struct {
	Place *Node `json:"-"`
	// One value of the scenario, addressed as by --set.
	Path String `json:"path"`
	// The values it takes.
	Values []Any `json:"values"`
	// Or whole numbers from one to another.
	Range *Range `json:"range"`
	// A circumstance, not a choice: the recommendation is for its first value, and rows are compared with those of the same value only.
	Given Bool `json:"given"`
	// Several values that change together, by the name of the choice.
	Choices Map[Map[Any]] `json:"choices"`
}

// Range is whole numbers.
type Range struct {
	// The first.
	From Int `json:"from" jsonschema:"required"`
	// The last.
	To Int `json:"to" jsonschema:"required"`
	// From one to the next; 1 if absent.
	Step Int `json:"step" jsonschema:"minimum=1"`
}

// Search says which combinations are run.
type Search struct {
	// All of them if absent; otherwise so many, drawn from the seed.
	Random Int `json:"random" jsonschema:"minimum=1,maximum=100000"`
}
