package registry

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/aws"
)

// The version in force decides, and a change of it counts at once.
func TestPolicyVersions(t *testing.T) {
	const allow = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Publish","Resource":"*"}]}`
	const deny = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"iot:Publish","Resource":"*"}]}`
	r, c := world(t, allow)
	p := Principal{Certificate: c, ClientID: "t1"}
	may := func() bool { return r.Authorize(p, "iot:Publish", "topic", "a") }
	require.True(t, may())
	name := r.ListPolicies()[0].PolicyName
	epochBefore := r.Epoch()
	v, err := r.CreatePolicyVersion(epoch, name, deny, false)
	require.NoError(t, err)
	require.Equal(t, "2", v.PolicyVersionID)
	require.True(t, may(), "not in force yet")
	require.Equal(t, epochBefore, r.Epoch())
	require.NoError(t, r.SetDefaultPolicyVersion(name, "2"))
	require.False(t, may())
	require.Greater(t, r.Epoch(), epochBefore)
	_, err = r.CreatePolicyVersion(epoch, name, allow, true)
	require.NoError(t, err)
	require.True(t, may())
	for range 2 {
		_, err = r.CreatePolicyVersion(epoch, name, allow, false)
		require.NoError(t, err)
	}
	_, err = r.CreatePolicyVersion(epoch, name, allow, false)
	require.ErrorIs(t, err, aws.VersionsLimitExceeded)
	require.ErrorIs(t, r.DeletePolicyVersion(name, "3"), aws.DeleteConflict, "in force")
	require.NoError(t, r.DeletePolicyVersion(name, "1"))
	v, err = r.CreatePolicyVersion(epoch, name, deny, false)
	require.NoError(t, err)
	require.Equal(t, "6", v.PolicyVersionID, "numbers are not used again")
	require.ErrorIs(t, r.SetDefaultPolicyVersion(name, "1"), aws.ResourceNotFound)
	require.ErrorIs(t, r.DeletePolicy("none"), aws.ResourceNotFound)
}
