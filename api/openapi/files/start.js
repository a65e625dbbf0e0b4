// Starts Swagger UI; a file of its own because the page allows no script inside of it.
"use strict";

SwaggerUIBundle({
  dom_id: "#swagger-ui",
  url: "swagger.json",
  docExpansion: "list",
  // Else the document would be sent to a validator on the web.
  validatorUrl: null,
  // Swagger 2.0 knows no bearer tokens: whoever pastes the token alone means one.
  requestInterceptor: (request) => {
    const given = request.headers.Authorization;
    if (given && !given.includes(" ")) {
      request.headers.Authorization = `Bearer ${given}`;
    }
    return request;
  },
});
