// node's http-proxy with kept connections: passes bytes on and checks nothing.
'use strict';
const http = require('http');
const httpProxy = require('http-proxy');

const [port, upstream] = process.argv.slice(2);
const proxy = httpProxy.createProxyServer({
  target: upstream,
  agent: new http.Agent({ keepAlive: true }),
});
proxy.on('error', (error, request, response) => response.destroy(error));
http.createServer((request, response) => proxy.web(request, response)).listen(Number(port), '127.0.0.1');
