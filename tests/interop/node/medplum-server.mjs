// Listens with the server of @medplum/hl7, and answers each message: in enhanced mode CA by the library, then AA.
// Usage: node medplum-server.mjs original|enhanced
// Prints the port it listens on, and then each message it gets as JSON text, a line each.
import { Hl7Server } from '@medplum/hl7';

const server = new Hl7Server((connection) => {
  connection.addEventListener('message', ({ message }) => {
    console.log(JSON.stringify(message.toString()));
    connection.send(message.buildAck({ ackCode: 'AA' }));
  });
});
server.start(0, 'utf-8', process.argv[2] === 'enhanced');
server.server.on('listening', () => console.log(server.server.address().port));
