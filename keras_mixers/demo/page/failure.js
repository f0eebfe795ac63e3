/** Says so where a part of the page cannot be loaded, for then page.js itself cannot. */

addEventListener('error', ({target}) => {
  if (target.tagName !== 'SCRIPT') return;
  const status = document.getElementById('status');
  status.textContent = 'A part of the page cannot be loaded: is keras-mixers demo still running? Then '
    + 'reload the page.';
  status.classList.add('error');
}, true);
