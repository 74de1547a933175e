package api

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/quota"
)

// Each operation has a rate of its own: so many calls pass at one moment, and the
// next is told to come back later, whatever else it asks for.
func TestRatesOfOperations(t *testing.T) {
	const rate = 3
	limits, err := quota.Named("unlimited")
	require.NoError(t, err)
	for _, n := range quota.Operations {
		limits[n] = rate
	}
	f := newFixture(t, nil)
	f.core.c, err = cloud.New(cloud.Config{Region: region, Epoch: epoch, External: true, Metered: true, Quotas: limits})
	require.NoError(t, err)
	body := `{"thingName":"t","thingGroupName":"g","target":"arn:aws:iot:us-east-1:123456789012:thinggroup/g"}`
	for _, name := range slices.Sorted(maps.Keys(quota.Operations)) {
		t.Run(name, func(t *testing.T) {
			i := slices.IndexFunc(operations[IoT], func(o operation) bool { return o.name == name })
			require.GreaterOrEqual(t, i, 0, "no such operation")
			o := operations[IoT][i]
			target := regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(o.path, "1")
			ask := func() *http.Response { return f.signed(IoT, o.method, target, body) }
			for range rate {
				require.NotEqual(t, "ThrottlingException", ask().Header.Get("X-Amzn-ErrorType"))
			}
			last := ask()
			require.Equal(t, "ThrottlingException", last.Header.Get("X-Amzn-ErrorType"))
			require.Equal(t, http.StatusBadRequest, last.StatusCode)
		})
	}
}
