// Preloaded into server-everything, which would listen on every interface: keeps it on 127.0.0.1 and tells the port it got.
// Changes nothing else of the server.
import net from 'node:net';

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {
  this.once('listening', () => console.error(`listening on port ${this.address().port}`));
  return listen.call(this, { port: Number(port), host: '127.0.0.1' }, rest.find((argument) => typeof argument === 'function'));
};
