// Sends the messages of standard input, a JSON array of texts, with node-hl7-client, each when the one before was answered.
// Usage: node node-hl7-client.mjs PORT
// Prints a JSON array: for each message the list of what its handler got within a second after the first.
import { Client, Message } from 'node-hl7-client';
import { text } from 'node:stream/consumers';

const [port] = process.argv.slice(2);
const messages = JSON.parse(await text(process.stdin));
const answers = [];
let answered = () => {};
const client = new Client({ host: '127.0.0.1' });
const connection = client.createConnection({ port: Number(port) }, (response) => {
  answers.at(-1).push(response.getMessage().toString());
  answered();
});
for (const message of messages) {
  answers.push([]);
  const first = new Promise((resolve) => {
    answered = resolve;
  });
  await connection.sendMessage(new Message({ text: message }));
  await Promise.race([first, new Promise((resolve) => setTimeout(resolve, 3000))]);
  await new Promise((resolve) => setTimeout(resolve, 1000));
}
await connection.close();
console.log(JSON.stringify(answers));
process.exit(0);
