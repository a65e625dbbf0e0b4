// Shows the address under which the reader has found this page, whatever proxies are in between.
"use strict";

for (const address of document.querySelectorAll(".address")) {
  address.textContent = new URL(".", location.href);
}
