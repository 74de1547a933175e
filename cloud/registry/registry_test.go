package registry

import (
	"crypto/sha256"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/aws"
)

var (
	epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	realm = aws.Realm{Region: "eu-central-1", Account: "123456789012"}
)

func register(t testing.TB, r *Registry, der string, status string) (*Certificate, string) {
	out, err := r.RegisterCertificate(epoch, []byte(der), sha256.Sum256([]byte(der)), status)
	require.NoError(t, err)
	c, err := r.FindCertificate(out.CertificateARN)
	require.NoError(t, err)
	return c, out.CertificateARN
}

func TestThings(t *testing.T) {
	r := New(realm, aws.Seed{1})
	d, err := r.CreateThing("a:1", "", map[string]string{"hw": "B"})
	require.NoError(t, err)
	require.Equal(t, "arn:aws:iot:eu-central-1:123456789012:thing/a:1", d.ThingARN)
	again, err := r.CreateThing("a:1", "", map[string]string{"hw": "B"})
	require.NoError(t, err)
	require.Equal(t, d, again, "an identical repeat succeeds")
	_, err = r.CreateThing("a:1", "", map[string]string{"hw": "C"})
	require.ErrorIs(t, err, aws.ResourceAlreadyExists)
	for _, bad := range []string{"", "a b", "a/b", strings.Repeat("x", 129)} {
		_, err = r.CreateThing(bad, "", nil)
		require.ErrorIs(t, err, aws.InvalidRequest, bad)
	}
	require.NoError(t, r.UpdateThing("a:1", ThingUpdate{Attributes: map[string]string{"fw": "2"}, Merge: true, ExpectedVersion: 1}))
	require.ErrorIs(t, r.UpdateThing("a:1", ThingUpdate{ExpectedVersion: 1}), aws.VersionConflict)
	d, err = r.DescribeThing("a:1")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"hw": "B", "fw": "2"}, d.Attributes)
	require.NoError(t, r.UpdateThing("a:1", ThingUpdate{Attributes: map[string]string{"hw": ""}, Merge: true}))
	d, _ = r.DescribeThing("a:1")
	require.Equal(t, map[string]string{"fw": "2"}, d.Attributes)

	_, arn := register(t, r, "der", "")
	require.NoError(t, r.AttachThingPrincipal("a:1", arn, false))
	require.ErrorIs(t, r.DeleteThing("a:1"), aws.InvalidRequest, "detach first")
	require.NoError(t, r.DetachThingPrincipal("a:1", arn))
	require.NoError(t, r.DeleteThing("a:1"))
	require.NoError(t, r.DeleteThing("a:1"), "absent is fine")
	require.False(t, r.Thing("a:1"))
}

func TestNestedGroups(t *testing.T) {
	r := New(realm, aws.Seed{1})
	for _, g := range [][2]string{{"all", ""}, {"north", "all"}, {"south", "all"}, {"lab", "north"}} {
		_, err := r.CreateThingGroup(epoch, CreateThingGroupRequest{ThingGroupName: g[0], ParentGroupName: g[1]})
		require.NoError(t, err)
	}
	for _, m := range [][2]string{{"t3", "lab"}, {"t1", "all"}, {"t2", "south"}, {"t3", "south"}} {
		_, err := r.CreateThing(m[0], "", nil)
		require.NoError(t, err)
		require.NoError(t, r.AddThingToThingGroup(m[0], m[1]))
		require.NoError(t, r.AddThingToThingGroup(m[0], m[1]))
	}
	all, ok := r.Group("all")
	require.True(t, ok)
	require.Equal(t, []string{"t1", "t3", "t2"}, all, "each once, a group before its children")
	require.True(t, r.InGroup("t3", "all"))
	require.True(t, r.InGroup("t3", "north"))
	require.False(t, r.InGroup("t1", "north"))
	direct, err := r.ListThingsInThingGroup("all", false)
	require.NoError(t, err)
	require.Equal(t, []string{"t1"}, direct)
	require.NoError(t, r.RemoveThingFromThingGroup("t3", "lab"))
	require.False(t, r.InGroup("t3", "north"))
	_, err = r.DeleteThingGroup("north")
	require.ErrorIs(t, err, aws.InvalidRequest, "it has children")
	left, err := r.DeleteThingGroup("south")
	require.NoError(t, err)
	require.Equal(t, []string{"t2", "t3"}, left)
	_, err = r.CreateThingGroup(epoch, CreateThingGroupRequest{ThingGroupName: "x", ParentGroupName: "none"})
	require.ErrorIs(t, err, aws.ResourceNotFound)
	parent := "all"
	for i := range maxGroupDepth {
		name := strings.Repeat("d", i+1)
		_, err = r.CreateThingGroup(epoch, CreateThingGroupRequest{ThingGroupName: name, ParentGroupName: parent})
		parent = name
	}
	require.ErrorIs(t, err, aws.InvalidRequest, "deeper than seven")
}

func TestManyLeaveAGroup(t *testing.T) {
	r := New(realm, aws.Seed{1})
	_, err := r.CreateThingGroup(epoch, CreateThingGroupRequest{ThingGroupName: "g"})
	require.NoError(t, err)
	var names []string
	for i := range 200 {
		name := "t" + strings.Repeat("x", i%50) + string(rune('a'+i/50))
		_, err := r.CreateThing(name, "", nil)
		require.NoError(t, err)
		require.NoError(t, r.AddThingToThingGroup(name, "g"))
		names = append(names, name)
	}
	var kept []string
	for i, n := range names {
		if i%4 != 0 {
			require.NoError(t, r.RemoveThingFromThingGroup(n, "g"))
		} else {
			kept = append(kept, n)
		}
	}
	got, _ := r.Group("g")
	require.Equal(t, kept, got)
	require.Less(t, len(r.groups["g"].members), 150, "gaps are closed")
}

func TestCertificates(t *testing.T) {
	r := New(realm, aws.Seed{1})
	c, arn := register(t, r, "one", "")
	_, err := r.RegisterCertificate(epoch, []byte("one"), sha256.Sum256([]byte("one")), "")
	require.ErrorIs(t, err, aws.ResourceAlreadyExists)
	got, err := r.Authenticate(c.fingerprint)
	require.NoError(t, err)
	require.Same(t, c, got)
	_, err = r.Authenticate(sha256.Sum256([]byte("other")))
	require.ErrorIs(t, err, aws.ResourceNotFound)
	require.ErrorIs(t, r.DeleteCertificate(c.ID(), false), aws.CertificateState)
	require.NoError(t, r.UpdateCertificate(epoch, c.ID(), Inactive))
	_, err = r.Authenticate(c.fingerprint)
	require.ErrorIs(t, err, aws.CertificateState)

	_, err = r.CreateThing("t", "", nil)
	require.NoError(t, err)
	_, err = r.CreateThing("u", "", nil)
	require.NoError(t, err)
	require.NoError(t, r.AttachThingPrincipal("t", arn, true))
	require.Error(t, r.AttachThingPrincipal("u", arn, false), "exclusively attached")
	list, err := r.ListThingPrincipals("t")
	require.NoError(t, err)
	require.Equal(t, []string{arn}, list)
	require.ErrorIs(t, r.DeleteCertificate(arn, false), aws.DeleteConflict)
	require.NoError(t, r.DetachThingPrincipal("t", arn))
	_, err = r.CreatePolicy(epoch, "p", OTAPolicy(realm))
	require.NoError(t, err)
	require.NoError(t, r.AttachPolicy("p", arn))
	require.ErrorIs(t, r.DeletePolicy("p"), aws.DeleteConflict)
	require.ErrorIs(t, r.DeleteCertificate(arn, false), aws.DeleteConflict)
	require.NoError(t, r.DeleteCertificate(arn, true))
	require.NoError(t, r.DeletePolicy("p"))
}

func TestUpdateThingGroupsForThing(t *testing.T) {
	r := New(realm, aws.Seed{1})
	_, err := r.CreateThing("t", "", nil)
	require.NoError(t, err)
	var all []string
	for i := range 11 {
		all = append(all, "g"+strconv.Itoa(i))
		_, err := r.CreateThingGroup(epoch, CreateThingGroupRequest{ThingGroupName: all[i]})
		require.NoError(t, err)
	}
	in := func() []string {
		list, err := r.ListThingGroupsForThing("t")
		require.NoError(t, err)
		return list
	}
	require.NoError(t, r.UpdateThingGroupsForThing("t", all[:10], nil, false))
	require.Equal(t, all[:10], in())
	require.ErrorIs(t, r.UpdateThingGroupsForThing("t", all[10:], nil, false), aws.InvalidRequest, "eleven groups")
	require.ErrorIs(t, r.UpdateThingGroupsForThing("t", []string{"none"}, all[:5], false), aws.ResourceNotFound)
	require.Equal(t, all[:10], in(), "an error changes nothing")
	require.NoError(t, r.UpdateThingGroupsForThing("t", all[10:], all[:1], false))
	require.Equal(t, all[1:], in())
	require.ErrorIs(t, r.UpdateThingGroupsForThing("none", nil, nil, false), aws.ResourceNotFound)
}
