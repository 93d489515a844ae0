// Sends the messages of standard input, a JSON array of texts, with the client of @medplum/hl7.
// Usage: node medplum-client.mjs PORT sequential|together first|application
// Prints a JSON array: for each message its acknowledgment, or {"error": text}.
import { Hl7Message } from '@medplum/core';
import { Hl7Client } from '@medplum/hl7';
import { text } from 'node:stream/consumers';

const [port, how, returnAck] = process.argv.slice(2);
const client = new Hl7Client({ host: '127.0.0.1', port: Number(port) });
client.addEventListener('error', () => {}); // each message reports its own

async function send(message) {
  try {
    return (await client.sendAndWait(Hl7Message.parse(message), { returnAck, timeoutMs: 3000 })).toString();
  } catch (error) {
    return { error: error.message };
  }
}

const messages = JSON.parse(await text(process.stdin));
const answers = [];
if (how === 'together') {
  answers.push(...(await Promise.all(messages.map(send))));
} else {
  for (const message of messages) {
    answers.push(await send(message));
  }
}
await client.close();
console.log(JSON.stringify(answers));
