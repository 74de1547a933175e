package registry

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otasim/otasim/cloud/aws"
)

func indexed(t require.TestingT, r *Registry) {
	require.NoError(t, r.UpdateIndexingConfiguration(&ThingIndexing{Mode: IndexingRegistry}, nil))
}

func group1(r *Registry, name, query string) error {
	_, err := r.CreateDynamicThingGroup(time.Unix(1, 0), CreateDynamicThingGroupRequest{ThingGroupName: name, Query: Query{QueryString: query}, Limit: 100})
	return err
}

func TestTenGroups(t *testing.T) {
	r := New(aws.Realm{Region: "eu-central-1", Account: "123456789012"}, aws.Seed{})
	indexed(t, r)
	_, err := r.CreateThing("t", "", map[string]string{"hw": "b"})
	require.NoError(t, err)
	var static []string
	for i := range 9 {
		static = append(static, fmt.Sprintf("s%d", i))
		_, err := r.CreateThingGroup(time.Unix(1, 0), CreateThingGroupRequest{ThingGroupName: static[i]})
		require.NoError(t, err)
	}
	require.NoError(t, r.UpdateThingGroupsForThing("t", static[:8], nil, false))
	for i := range 3 {
		require.NoError(t, group1(r, fmt.Sprintf("d%d", i), "attributes.hw:b"))
	}
	require.Equal(t, []string{"t"}, r.Reindex(nil))
	groups := func() []string {
		list, err := r.ListThingGroupsForThing("t")
		require.NoError(t, err)
		return list
	}
	require.Equal(t, append(static[:8:8], "d0", "d1"), groups(), "the third dynamic group finds no place")
	require.ErrorIs(t, r.AddThingToThingGroup("t", "s8"), aws.InvalidRequest)
	require.ErrorIs(t, r.UpdateThingGroupsForThing("t", []string{"s8"}, nil, false), aws.InvalidRequest)
	require.NoError(t, r.UpdateThingGroupsForThing("t", []string{"s8"}, nil, true))
	require.Equal(t, append(static[:8:8], "d0", "s8"), groups(), "it left the latest dynamic group")
	require.Empty(t, r.Reindex([]string{"t"}))
	require.NoError(t, r.UpdateThingGroupsForThing("t", nil, static, false))
	require.Equal(t, []string{"t"}, r.Reindex([]string{"t"}))
	require.Equal(t, []string{"d0", "d1", "d2"}, groups())
	for i := range 97 {
		require.NoError(t, group1(r, fmt.Sprintf("more%d", i), "*"))
	}
	require.ErrorIs(t, group1(r, "one-too-many", "*"), aws.LimitExceeded)
}

// Whatever happens to a fleet, looking at what has changed gives the members
// that looking at everything would give.
func TestReindexFindsEveryChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := New(aws.Realm{Region: "eu-central-1", Account: "123456789012"}, aws.Seed{})
		indexed(t, r)
		queries := map[string]string{"d0": "attributes.hw:b OR thingName:t1", "d1": "NOT thingGroupNames:s", "d2": "attributes.fw<3"}
		for _, name := range []string{"d0", "d1", "d2"} {
			require.NoError(t, group1(r, name, queries[name]))
		}
		_, err := r.CreateThingGroup(time.Unix(1, 0), CreateThingGroupRequest{ThingGroupName: "s"})
		require.NoError(t, err)
		things := rapid.SampledFrom([]string{"t0", "t1", "t2", "t3"})
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			name := things.Draw(t, "thing")
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0:
				_, err = r.CreateThing(name, "", nil)
			case 1:
				err = r.DeleteThing(name)
			case 2:
				err = r.UpdateThing(name, ThingUpdate{Attributes: map[string]string{
					"hw": rapid.SampledFrom([]string{"a", "b"}).Draw(t, "hw"), "fw": rapid.SampledFrom([]string{"1", "3", "20"}).Draw(t, "fw")}})
			case 3:
				err = r.AddThingToThingGroup(name, "s")
			case 4:
				err = r.RemoveThingFromThingGroup(name, "s")
			}
			_ = err // an absent thing is fine
			r.Reindex([]string{name})
			for group, query := range queries {
				found, err := r.SearchIndex(Query{QueryString: query})
				require.NoError(t, err)
				want := map[string]bool{}
				for _, f := range found {
					want[f.ThingName] = true
				}
				members, err := r.ListThingsInThingGroup(group, true)
				require.NoError(t, err)
				require.Len(t, members, len(want), group)
				for _, m := range members {
					require.True(t, want[m], "%s in %s", m, group)
				}
			}
		}
	})
}
