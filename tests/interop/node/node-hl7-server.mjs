// Listens with node-hl7-server, and answers AA to each message.
// Usage: node node-hl7-server.mjs PORT
// Prints the port when it listens, and then each message it gets as JSON text, a line each.
import { Server } from 'node-hl7-server';

const port = Number(process.argv[2]);
const inbound = new Server({ bindAddress: '127.0.0.1' }).createInbound({ port }, async (request, response) => {
  console.log(JSON.stringify(request.getMessage().toString()));
  await response.sendResponse('AA');
});
inbound.on('listen', () => console.log(port));
