const http = require('http');
const server = http.createServer((request, response) => response.end('node answers\n'));
server.listen(0, '127.0.0.1', () => {
  http.get({ host: '127.0.0.1', port: server.address().port }, (response) => {
    response.pipe(process.stdout);
    response.on('end', () => server.close());
  });
});
