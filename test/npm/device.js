// A device made of the AWS IoT Device SDK: does one job over MQTT with mutual TLS.
//
//	node device.js HOST PORT CA CERTIFICATE KEY THING [5]
//
// With 5 as the last word over MQTT 5, else over MQTT 3.1.1.
const assert = require('node:assert');
const { once } = require('node:events');
const { iot, iotjobs, mqtt, mqtt5 } = require('aws-iot-device-sdk-v2');

const [host, port, ca, certificate, key, thingName, version] = process.argv.slice(2);
const limits = { maxRequestResponseSubscriptions: 6, maxStreamingSubscriptions: 2, operationTimeoutInSeconds: 10 };

// connect returns a client of the Jobs service and a function that disconnects it.
async function connect() {
  if (version === '5') {
    const config = iot.AwsIotMqtt5ClientConfigBuilder.newDirectMqttBuilderWithMtlsFromPath(host, certificate, key)
      .withCertificateAuthorityFromPath(undefined, ca)
      .withPort(Number(port))
      .withConnectProperties({ clientId: thingName, keepAliveIntervalSeconds: 30 })
      .build();
    const client = new mqtt5.Mqtt5Client(config);
    const connected = once(client, 'connectionSuccess');
    client.start();
    await connected;
    return [iotjobs.IotJobsClientv2.newFromMqtt5(client, limits), async () => {
      const stopped = once(client, 'stopped');
      client.stop();
      await stopped;
      client.close();
    }];
  }
  const config = iot.AwsIotMqttConnectionConfigBuilder.new_mtls_builder_from_path(certificate, key)
    .with_certificate_authority_from_path(undefined, ca)
    .with_endpoint(host)
    .with_port(Number(port))
    .with_client_id(thingName)
    .with_clean_session(true)
    .build();
  const connection = new mqtt.MqttClient().new_connection(config);
  await connection.connect();
  return [iotjobs.IotJobsClientv2.newFromMqtt311(connection, limits), () => connection.disconnect()];
}

async function main() {
  const [jobs, disconnect] = await connect();

  // Tells what is next: nothing, after this job.
  const changes = jobs.createNextJobExecutionChangedStream({ thingName });
  const subscribed = once(changes, 'subscriptionStatus');
  const changed = once(changes, 'incomingPublish');
  changes.open();
  await subscribed;

  const pending = await jobs.getPendingJobExecutions({ thingName });
  assert.equal(pending.inProgressJobs.length, 0);
  assert.equal(pending.queuedJobs.length, 1);
  const jobId = pending.queuedJobs[0].jobId;

  const started = await jobs.startNextPendingJobExecution({ thingName, statusDetails: { step: 'blinking' } });
  assert.equal(started.execution.jobId, jobId);
  assert.equal(started.execution.status, 'IN_PROGRESS');
  assert.deepEqual(started.execution.jobDocument, { operation: 'blink' });

  // Another version than the execution has is refused, and changes nothing.
  await assert.rejects(
    jobs.updateJobExecution({ thingName, jobId, status: 'SUCCEEDED', expectedVersion: started.execution.versionNumber + 7 }),
    (e) => e.modeledError?.code === 'VersionMismatch',
  );
  const described = await jobs.describeJobExecution({ thingName, jobId, includeJobDocument: false });
  assert.equal(described.execution.versionNumber, started.execution.versionNumber);
  assert.equal(described.execution.statusDetails.step, 'blinking');

  await jobs.updateJobExecution({ thingName, jobId, status: 'SUCCEEDED', expectedVersion: started.execution.versionNumber, includeJobExecutionState: true });
  const [next] = await changed;
  assert.equal(next.message.execution, undefined);

  changes.close();
  jobs.close();
  await disconnect();
  console.log(`npm: ${thingName} did ${jobId} over MQTT ${version === '5' ? '5' : '3.1.1'}`);
}

// Ends by itself: aws-crt 1.33.1 aborts when node, at the end of its own accord, frees
// what is left of the connection.
main().then(() => process.exit(0), (e) => {
  console.error(e);
  process.exit(1);
});
