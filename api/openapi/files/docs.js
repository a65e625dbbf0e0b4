// Starts Swagger UI; a file of its own because the page allows no script inside of it.
"use strict";

// Swagger UI has a dark mode, and leaves it to the page when to use it.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

// Swagger UI takes a form that is typed apart, letter by letter; one that is a JSON object it encodes.
let executed = [];
const asTyped = (request) => {
  if (request.headers?.["Content-Type"] === "application/x-www-form-urlencoded") {
    const typed = ui.getSystem().oas3Selectors.requestBodyValue(...executed);
    request.body = typed.trim().startsWith("{") ? request.body : typed;
  }
  return request;
};

// One line for each error, which unfolds to its codes.
const foldedError = (Original, { React, specSelectors }) => (props) => {
  if (props.code < 400) {
    return React.createElement(Original, props);
  }
  const h = React.createElement;
  const codes = specSelectors
    .specJson()
    .getIn(["components", "schemas", `Problem${props.code}`, "allOf", 1, "properties", "code", "enum"], []);
  return h(
    "tr",
    { className: "response", "data-code": props.code },
    h("td", { className: "response-col_status" }, props.code),
    h(
      "td",
      { className: "response-col_description", colSpan: 2 },
      h(
        "details",
        null,
        h("summary", null, props.response.get("description")),
        h("p", null, "The code is ", ...codes.flatMap((code, i) => [i ? ", " : "", h("code", { key: code }, code)]), "."),
      ),
    ),
  );
};

// The token is kept for this tab. The document names it so as well.
const TOKEN = "token";
const kept = (change) => (original) => (payload) => {
  change(payload);
  return original(payload);
};

// What screen readers need and Swagger UI leaves out: names of controls, landmarks, and headings without gaps.
const SPOKEN = [
  ["[data-param-name] :is(input, select, textarea)", "aria-label", (c) => c.closest("[data-param-name]").dataset.paramName],
  [".opblock-section-request-body :is(input, select, textarea)", "aria-label", () => "Request body"],
  [".responses-table", "aria-label", (table) => `Responses: ${table.id}`],
  [".information-container", "role", () => "banner"],
  [":is(h3, h4, h5)", "aria-level", (heading) => heading.tagName[1] - 1],
];
new MutationObserver(() => {
  for (const [selector, attribute, value] of SPOKEN) {
    for (const element of document.querySelectorAll(`${selector}:not([${attribute}])`)) {
      element.setAttribute(attribute, value(element));
    }
  }
}).observe(document.body, { childList: true, subtree: true });

// The service is where this page is, under whatever path a proxy has them both.
const servers = [{ url: new URL(".", location.href).pathname }];

const page = () => ({
  statePlugins: {
    spec: {
      wrapActions: {
        updateJsonSpec: (original) => (openapi) => original({ ...openapi, servers }),
        executeRequest: (original) => (request) => {
          executed = [request.pathName, request.method];
          return original(request);
        },
      },
    },
    auth: {
      wrapActions: {
        authorize: kept((given) => sessionStorage.setItem(TOKEN, given[TOKEN].value)),
        logout: kept(() => sessionStorage.removeItem(TOKEN)),
      },
    },
  },
  // Lines can be typed, too.
  fn: { isFileUploadIntended: (schema) => schema?.get("format") === "binary" },
  // There is no choice of servers.
  wrapComponents: { response: foldedError, ServersContainer: () => () => null },
});

const ui = SwaggerUIBundle({
  dom_id: "#swagger-ui",
  url: "openapi.json",
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  syntaxHighlight: false,
  // Else the document would be sent to a validator on the web.
  validatorUrl: null,
  plugins: [page],
  requestInterceptor: asTyped,
  onComplete: () => {
    // Text can be typed; bytes need a file.
    const { oas3Actions, specSelectors } = ui.getSystem();
    for (const [path, item] of specSelectors.specJson().get("paths")) {
      for (const [method, operation] of item) {
        if (operation.hasIn(["requestBody", "content", "text/plain"])) {
          oas3Actions.setRequestContentType({ value: "text/plain", pathMethod: [path, method] });
        }
      }
    }
    const token = sessionStorage.getItem(TOKEN);
    if (token) {
      ui.preauthorizeApiKey(TOKEN, token);
    }
  },
});
