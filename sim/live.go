package sim

import (
	"context"
	"errors"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

func runLive(_ context.Context, _ *scenario.Scenario, _ Options) (*report.Result, error) {
	return nil, errors.New("live mode is being built")
}
