// Transcribe a recording over gRPC: `node transcribe.mjs [recording.wav [host:port]]`.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const [
  recording = here("../../client/recordings/01-jackson.wav"),
  address = "127.0.0.1:50051",
] = process.argv.slice(2);

// proto-loader turns sample_rate_hertz into sampleRateHertz, unless it is told `keepCase: true`. It
// silently leaves out a field whose name it does not know, so check the names.
const definition = loadSync("stt/v1/stt.proto", {
  includeDirs: [here("../../proto")],
  enums: String,
  oneofs: true,
});
const { SpeechToTextService } = grpc.loadPackageDefinition(definition).stt.v1;

function checked(typeName, message) {
  const known = definition[typeName].type.field.map((field) => field.name);
  for (const name of Object.keys(message)) {
    if (!known.includes(name)) {
      throw new Error(`${typeName} has no field ${name}; it has ${known.join(", ")}`);
    }
  }
  return message;
}

// The header of a plain WAV file is 44 bytes long; the sample rate is at offset 24.
const wav = readFileSync(recording);
const config = checked("stt.v1.StreamingConfig", {
  encoding: "ENCODING_PCM_S16LE",
  sampleRateHertz: wav.readUInt32LE(24),
});
const audio = wav.subarray(44);

const client = new SpeechToTextService(address, grpc.credentials.createInsecure());
const call = client.StreamingTranscribe();
call.on("data", (response) => {
  switch (response.event) {
    case "token":
      process.stdout.write(response.token.text);
      break;
    case "final":
      console.log(`\n${response.final.words.length} words:${response.final.transcript}`);
      break;
  }
});
call.on("error", (error) => {
  console.error(`${grpc.status[error.code]}: ${error.details}`);
  process.exitCode = 1;
});
call.on("end", () => client.close());

call.write({ config });
for (let start = 0; start < audio.length; start += 16_000) {
  call.write({ audio: audio.subarray(start, start + 16_000) });
}
call.end();
